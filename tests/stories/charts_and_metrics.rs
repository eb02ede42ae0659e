//! Somebody looks at how a run goes: what it charts, and what it uses.

use serde_json::{Value, json};

use crate::daemon::{BUSYBOX, Daemon};

/// Prints 1000 points of one chart among other lines, and some that look like points and are none.
const TRAINING: &str = r#"
i=0
while [ $i -lt 1000 ]; do
  echo "{\"chart\": \"loss\", \"x\": $i, \"y\": $((2000 - i))}"
  i=$((i+1))
done
echo '{"chart": "accuracy", "y": 0.5, "x": 1}'
echo '{"chart": "accuracy", "y": 1e-3, "x": 2.5}'
echo '{"chart": "without y", "x": 1}' '{"chart": "two on a line", "x": 1, "y": 1}'
echo '{"chart": "not a number", "x": 1, "y": "NaN"}'
echo 'chart: loss y: 3'
"#;

#[test]
fn every_point_of_a_chart_is_there_once_and_exact() {
    let daemon = Daemon::start();
    let id = daemon.submit(&json!({"image": BUSYBOX, "command": TRAINING}));
    assert_eq!(daemon.wait_for_end(&id)["state"], "stopped");
    let charts = daemon.get(&format!("/jobs/{id}/charts")).body;
    let mut names: Vec<_> =
        charts["items"].as_array().unwrap().iter().map(|chart| chart["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accuracy", "loss"], "{charts:#}");
    let loss = charts["items"].as_array().unwrap().iter().find(|chart| chart["name"] == "loss").unwrap();
    assert_eq!(loss["points"], 1000);
    assert_eq!(loss["last"], json!({"x": 999.0, "y": 1001.0}));

    let all = daemon.get(&format!("/jobs/{id}/charts/loss?points=2000")).body;
    assert_eq!(all["total"], 1000);
    let expected: Vec<f64> = (0..1000).map(f64::from).collect();
    assert_eq!(all["x"], json!(expected));
    assert_eq!(all["y"], json!(expected.iter().map(|x| 2000.0 - x).collect::<Vec<_>>()));
    // Fewer points keep the ends.
    let some = daemon.get(&format!("/jobs/{id}/charts/loss?points=50")).body;
    let x = some["x"].as_array().unwrap();
    assert!(x.len() <= 60 && x.len() >= 25, "{} points", x.len());
    assert_eq!((&x[0], x.last().unwrap(), &some["total"]), (&json!(0.0), &json!(999.0), &json!(1000)));
    let accuracy = daemon.get(&format!("/jobs/{id}/charts/accuracy")).body;
    assert_eq!((&accuracy["x"], &accuracy["y"]), (&json!([1.0, 2.5]), &json!([0.5, 0.001])));
    let none = daemon.get(&format!("/jobs/{id}/charts/none"));
    assert_eq!((none.status, &none.body["code"]), (404, &json!("chart_not_found")), "{none:?}");
}

#[test]
fn what_a_run_uses_is_sampled_and_kept_after_it() {
    let daemon = Daemon::start_with(&[
        ("GRADIENTD_SCHEDULER__MACHINE_TYPES", r#"[{name="small", cores=0.5, memory_gib=0.125}]"#),
        ("GRADIENTD_ENGINE__STOP_GRACE", "1s"),
    ]);
    // Busy, with 20 MiB of memory in a file of shared memory.
    let id = daemon.shell("dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; while true; do :; done");
    let series = |metrics: &Value, name: &str| -> Option<Vec<f64>> {
        let found = metrics["series"].as_array()?.iter().find(|series| series["name"] == name)?;
        Some(found["v"].as_array()?.iter().filter_map(Value::as_f64).collect())
    };
    let get = || daemon.get(&format!("/jobs/{id}/metrics")).body;
    let metrics = daemon.wait_until("two samples", || {
        let metrics = get();
        (series(&metrics, "cpuPercentage")?.len() >= 2).then_some(metrics)
    });
    for name in
        ["cpuPercentage", "memoryUsage", "memoryLimit", "networkReceived", "networkSent", "blockRead", "blockWritten"]
    {
        let values = series(&metrics, name).unwrap_or_else(|| panic!("{name} in {metrics:#}"));
        assert!(values.iter().all(|value| *value >= 0.0), "{name}: {values:?}");
    }
    let limit = series(&metrics, "memoryLimit").unwrap();
    assert!(limit.iter().all(|bytes| *bytes == f64::from(128 << 20)), "{limit:?}");
    let memory = series(&metrics, "memoryUsage").unwrap();
    assert!(memory.iter().all(|bytes| (f64::from(20 << 20)..f64::from(128 << 20)).contains(bytes)), "{memory:?}");
    let cpu = series(&metrics, "cpuPercentage").unwrap();
    // Half a core, as far as this machine has one to give.
    assert!(cpu.iter().all(|percent| (1.0..75.0).contains(percent)), "{cpu:?}");
    let first = &metrics["series"][0];
    let times: Vec<f64> = first["t"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert!(metrics["series"].as_array().unwrap().iter().all(|series| series["gpu"].is_null()), "no GPU, none shown");

    daemon.post(&format!("/jobs/{id}/stop"), &json!({}));
    daemon.wait_for_end(&id);
    assert!(series(&get(), "cpuPercentage").unwrap().len() >= cpu.len(), "they stay");
}
