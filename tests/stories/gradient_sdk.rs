//! The Python classes of the original client that no command's story uses.

use crate::{
    client::{Client, VERSIONS},
    daemon::Daemon,
    s3::{self, S3},
};

#[test]
fn every_class_for_data_and_for_the_box_does_what_its_command_does() {
    let s3 = S3::start();
    let daemon = Daemon::start();
    let bucket = s3.provider("");
    let text = |name: &str| bucket[name].as_str().unwrap();
    for version in VERSIONS {
        let client = Client::of(&daemon, version);
        let script = format!(
            r#"
import gradient, os, requests
sdk = gradient.SdkClient(os.environ["PAPERSPACE_API_KEY"])
print("clusters", [one.id for one in sdk.clusters.list(limit=5)])
print("types", "cpu-small" in [one.label for one in sdk.machine_types.list(cluster_id="box")])

providers = sdk.storage_providers
place = dict(bucket="{bucket}", access_key="{access}", secret_access_key="{secret}", endpoint="{endpoint}", region="us-east-1")
made = providers.create_s3(name="sdk {version}", **place)
providers.update_s3(made, name="renamed {version}", region="us-east-1")
one = providers.get(made)
print("provider", one.name == "renamed {version}", one.config["bucket"], "secretAccessKey" in one.config)
print("listed", made in [one.id for one in providers.list()])

dataset = sdk.datasets.create(name="sdk-{version}", storage_provider_id=made, description="d")
sdk.datasets.update(dataset, description="other")
print("dataset", sdk.datasets.get(dataset).description, dataset in [one.id for one in sdk.datasets.list()])
version = sdk.dataset_versions.create(dataset_id=dataset, message="m")
reference = dataset + ":" + version
put = sdk.dataset_versions.generate_pre_signed_s3_url(reference, "putObject", dict(Key="/d/a ü.txt", ContentType="text/plain"))
print("put", requests.put(put.url, data=b"hello").status_code)
calls = [dict(method="headObject", params=dict(Key="d/a ü.txt")), dict(method="getObject", params=dict(Key="d/a ü.txt"))]
head, get = sdk.dataset_versions.generate_pre_signed_s3_urls(reference, calls)
print("file", requests.head(head.url).headers["Content-Length"], requests.get(get.url).text)
sdk.dataset_versions.update(reference, is_committed=True)
print("version", sdk.dataset_versions.get(reference).is_committed, [one.version == version for one in sdk.dataset_versions.list(dataset)])
print("ref", sdk.datasets.get_ref(dataset + ":latest").version.version == version)

tags = sdk.dataset_tags
tags.set(reference, "prod")
print("tag", tags.get(dataset + ":prod").version.version == version, [one.name for one in tags.list(dataset)])
tags.delete(dataset + ":prod")
print("untagged", tags.list(dataset))

project = sdk.projects.create("sdk {version}", tags=["a"])
sdk.projects.add_tags(project, ["b"])
sdk.projects.remove_tags(project, ["a"])
print("entity", sdk.projects.list_tags([project]) == [{{project: ["b"]}}])

sdk.secrets.set(entity="project", entity_id=project, name="TOKEN", value="v")
print("secrets", [one.name for one in sdk.secrets.list("project", project)])
sdk.secrets.delete(entity="project", entity_id=project, name="TOKEN")
sdk.datasets.delete(dataset)
try:
    sdk.datasets.get(dataset)
except Exception as error:
    print("gone:", error)
spare = providers.create_s3(name="spare {version}", **place)
providers.delete(spare)
print("deleted", spare in [one.id for one in providers.list()])
"#,
            bucket = s3::BUCKET,
            access = text("accessKeyId"),
            secret = s3::secret(),
            endpoint = text("endpoint"),
        );
        let said = client.python(&script);
        assert!(said.code == Some(0), "{version}: {said:?}");
        for line in [
            "clusters ['box']",
            "types True",
            "provider True lab False",
            "listed True",
            "dataset other True",
            "put 200",
            "file 5 hello",
            "version True [True]",
            "ref True",
            "tag True ['prod']",
            "untagged []",
            "entity True",
            "secrets ['TOKEN']",
            "deleted False",
        ] {
            assert!(said.out.lines().any(|printed| printed == line), "{version}: {line}: {said:?}");
        }
        assert!(said.out.contains("gone: Failed to fetch data: there is no dataset"), "{said:?}");
    }
}
