//! Which containers are ours: those whose labels carry this box's MAC.
//!
//! A label alone proves nothing, since anybody with the engine's socket, and any image, can carry
//! it. The sealed keys are listed in a label of their own because an image's labels are mixed with
//! the container's: what an image adds is not sealed, and is not shown.

use std::collections::{BTreeMap, HashMap};

/// Which box made the container. Also what lists and events are filtered by.
pub(super) const BOX: &str = "gradientd.box";
/// The names of the sealed labels, as a JSON list.
const SEALED: &str = "gradientd.sealed";
/// The MAC over the box, the container's name and the sealed labels, in hexadecimal.
const MAC: &str = "gradientd.mac";

/// Returns `labels` and those that prove them to be this box's.
pub(super) fn seal(
    key: &[u8; 32],
    box_id: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> HashMap<String, String> {
    let keys: Vec<&String> = labels.keys().collect();
    let mut sealed: HashMap<String, String> = labels.clone().into_iter().collect();
    sealed.insert(SEALED.into(), serde_json::json!(keys).to_string());
    sealed.insert(MAC.into(), mac(key, box_id, name, labels).to_hex().to_string());
    sealed.insert(BOX.into(), box_id.into());
    sealed
}

/// Returns the labels that this box gave the container, or `None` when it is not this box's.
pub(super) fn open(
    key: &[u8; 32],
    box_id: &str,
    name: &str,
    found: &HashMap<String, String>,
) -> Option<BTreeMap<String, String>> {
    if found.get(BOX)? != box_id {
        return None;
    }
    let keys: Vec<String> = serde_json::from_str(found.get(SEALED)?).ok()?;
    let labels = keys
        .into_iter()
        .map(|key| found.get(&key).cloned().map(|value| (key, value)))
        .collect::<Option<BTreeMap<_, _>>>()?;
    let claimed = blake3::Hash::from_hex(found.get(MAC)?).ok()?;
    // Comparing hashes takes the same time wherever they differ.
    (claimed == mac(key, box_id, name, &labels)).then_some(labels)
}

fn mac(key: &[u8; 32], box_id: &str, name: &str, labels: &BTreeMap<String, String>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(key);
    // Each piece goes in with its length, so that no two lists of labels read the same.
    let mut put = |piece: &str| {
        hasher.update(&(piece.len() as u64).to_le_bytes());
        hasher.update(piece.as_bytes());
    };
    put("gradientd container labels 1");
    put(box_id);
    put(name);
    for (key, value) in labels {
        put(key);
        put(value);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn labels() -> BTreeMap<String, String> {
        BTreeMap::from([("gradientd.run".into(), "js1".into()), ("a,\"b".into(), "ü".into())])
    }

    #[test]
    fn what_is_sealed_opens_to_the_same_labels() {
        let mut sealed = seal(&KEY, "box", "name", &labels());
        sealed.insert("from.the.image".into(), "x".into());
        assert_eq!(open(&KEY, "box", "name", &sealed), Some(labels()));
    }

    #[test]
    fn another_key_box_name_or_value_does_not_open() {
        let sealed = seal(&KEY, "box", "name", &labels());
        assert_eq!(open(&[8; 32], "box", "name", &sealed), None);
        assert_eq!(open(&KEY, "other", "name", &sealed), None);
        assert_eq!(open(&KEY, "box", "other", &sealed), None);
        for key in sealed.keys() {
            let mut changed = sealed.clone();
            changed.insert(key.clone(), "[]".into());
            assert_eq!(open(&KEY, "box", "name", &changed), None, "{key} changed");
            let mut missing = sealed.clone();
            missing.remove(key);
            assert_eq!(open(&KEY, "box", "name", &missing), None, "{key} missing");
        }
    }
}
