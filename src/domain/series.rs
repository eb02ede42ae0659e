//! Makes long series short enough to draw, so that a million points cost a page what a thousand do.
//!
//! Curves are thinned by [`largest_triangles`], which keeps their shape; noisy ones by
//! [`extremes`], which keeps every peak; and samples that grow old by [`averages`].

/// A point of a series. Series are in order of `x`, and neither part is NaN.
pub type Xy = (f64, f64);

/// The name of a series within one attempt of a workload.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesName {
    pub name: String,
    /// The GPU that it tells of, or empty.
    pub gpu: String,
}

/// Where the points of a run's chart come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChartSource {
    /// Lines of its output.
    Printed,
    /// What it pushed.
    Pushed,
}

/// A series as a list shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SeriesSummary {
    pub name: SeriesName,
    pub points: u64,
    /// The point with the greatest key.
    pub last: Option<(f64, f64)>,
    pub last_key: Option<i64>,
}

/// Keeps at most `n` of `points`: the first, the last, and of each equal run between them the one
/// that spans the largest triangle with its neighbours (Steinarsson's LTTB).
///
/// Returns all of them when there are no more than `n`, or when `n` is below 3.
#[must_use]
pub fn largest_triangles(points: &[Xy], n: usize) -> Vec<Xy> {
    let (Some(&first), Some(&last)) = (points.first(), points.last()) else { return Vec::new() };
    if points.len() <= n || n < 3 {
        return points.to_vec();
    }
    let inner = points.len() - 2;
    let buckets = n - 2;
    let bucket = |i: usize| &points[1 + i * inner / buckets..1 + (i + 1) * inner / buckets];
    let mut kept = Vec::with_capacity(n);
    kept.push(first);
    let mut before = first;
    for i in 0..buckets {
        let after = if i + 1 < buckets { mean(bucket(i + 1)) } else { last };
        let chosen =
            bucket(i).iter().copied().max_by(|&a, &b| area(before, a, after).total_cmp(&area(before, b, after)));
        if let Some(chosen) = chosen {
            kept.push(chosen);
            before = chosen;
        }
    }
    kept.push(last);
    kept
}

/// Keeps the lowest and the highest of each of `n / 2` equal runs of `points`, in their order, so
/// that no peak is lost.
///
/// Returns all of them when there are no more than `n`, or when `n` is below 2.
#[must_use]
pub fn extremes(points: &[Xy], n: usize) -> Vec<Xy> {
    if points.len() <= n || n < 2 {
        return points.to_vec();
    }
    let buckets = n / 2;
    let mut kept = Vec::with_capacity(n);
    for i in 0..buckets {
        let (start, end) = (i * points.len() / buckets, (i + 1) * points.len() / buckets);
        let by_y = |a: &usize, b: &usize| points[*a].1.total_cmp(&points[*b].1);
        let low = (start..end).min_by(by_y).unwrap_or(start);
        let high = (start..end).max_by(by_y).unwrap_or(start);
        kept.push(points[low.min(high)]);
        if low != high {
            kept.push(points[low.max(high)]);
        }
    }
    kept
}

/// Averages samples that lie in one step of `width` along x: each step that has any becomes one
/// point at the step's beginning. `width` is in the unit of x; a width that is not above zero changes nothing.
#[must_use]
pub fn averages(points: &[Xy], width: f64) -> Vec<Xy> {
    if width.is_nan() || width <= 0.0 {
        return points.to_vec();
    }
    let step = |x: f64| (x / width).floor();
    points
        .chunk_by(|a, b| step(a.0).total_cmp(&step(b.0)).is_eq())
        .map(|samples| (step(samples[0].0) * width, mean(samples).1))
        .collect()
}

/// The middle of some points, without the sum overflowing: each is divided first.
#[expect(clippy::cast_precision_loss, reason = "no series has 2^52 points")]
fn mean(points: &[Xy]) -> Xy {
    let n = points.len() as f64;
    points.iter().fold((0.0, 0.0), |sum, p| (sum.0 + p.0 / n, sum.1 + p.1 / n))
}

/// Twice the area of a triangle.
fn area(a: Xy, b: Xy, c: Xy) -> f64 {
    ((a.0 - c.0) * (b.1 - a.1) - (a.0 - b.0) * (c.1 - a.1)).abs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series() -> impl Strategy<Value = Vec<Xy>> {
        prop::collection::vec(-1e6..1e6f64, 0..400)
            .prop_map(|ys| ys.into_iter().zip(0u32..).map(|(y, x)| (x.into(), y)).collect())
    }

    proptest! {
        #[test]
        fn thinning_keeps_the_ends_the_order_and_the_bound(points in series(), n in 3usize..120) {
            let kept = largest_triangles(&points, n);
            prop_assert_eq!(kept.len(), points.len().min(n));
            prop_assert_eq!((kept.first(), kept.last()), (points.first(), points.last()));
            prop_assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert!(kept.iter().all(|p| points.contains(p)));
        }

        #[test]
        fn no_peak_is_lost_by_extremes(points in series(), n in 2usize..120) {
            let kept = extremes(&points, n);
            let peak = |points: &[Xy]| points.iter().map(|p| p.1).fold(f64::MIN, f64::max);
            let dip = |points: &[Xy]| points.iter().map(|p| p.1).fold(f64::MAX, f64::min);
            prop_assert!(kept.len() <= n.max(points.len().min(n)));
            prop_assert!(kept.is_sorted_by(|a, b| a.0 < b.0));
            prop_assert_eq!((peak(&kept), dip(&kept)), (peak(&points), dip(&points)));
        }
    }

    #[test]
    fn a_spike_survives_thinning() {
        let mut points: Vec<Xy> = (0..1000).map(|x| (f64::from(x), 0.0)).collect();
        points[500].1 = 9.0;
        assert!(largest_triangles(&points, 20).contains(&(500.0, 9.0)));
    }

    #[test]
    fn samples_of_one_step_become_their_average() {
        let points = [(0.0, 1.0), (5.0, 3.0), (10.0, 7.0), (31.0, 4.0), (39.0, 6.0)];
        assert_eq!(averages(&points, 10.0), [(0.0, 2.0), (10.0, 7.0), (30.0, 5.0)]);
        assert_eq!(averages(&points, 0.0), points);
    }
}
