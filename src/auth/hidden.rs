//! Values that must not be seen by accident.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that debug output, logs and panics do not show, and whose memory is wiped when it goes.
///
/// There is no `Display`: whoever shows the value has to write [`Secret::reveal`].
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Hides `value`.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value itself. The caller answers for where it goes.
    pub fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<'de, T: Zeroize + serde::Deserialize<'de>> serde::Deserialize<'de> for Secret<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_does_not_show_the_value() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read by Debug alone")]
        struct Holder {
            password: Secret<String>,
        }
        let shown = format!("{:?}", Holder { password: Secret::new("hunter2".into()) });
        assert!(shown.contains("[hidden]") && !shown.contains("hunter2"), "{shown}");
    }
}
