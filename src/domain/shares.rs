//! How many of something one address may hold at the same time, so that nobody takes what is there for all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

const HELD: &str = "no code panics while it holds this lock";

/// What every address holds. Clones count together.
#[derive(Clone)]
pub struct Shares {
    most: u32,
    held: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Shares {
    /// Lets each address hold `most`.
    pub fn new(most: u32) -> Self {
        Self { most, held: Arc::default() }
    }

    /// Takes one for `peer`; `None` when it has as many as it may. An IPv4 address is the same however it is
    /// written.
    pub fn take(&self, peer: IpAddr) -> Option<Share> {
        let peer = peer.to_canonical();
        let mut held = self.held.lock().expect(HELD);
        let count = held.entry(peer).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Share { shares: self.clone(), peer })
    }
}

/// One of those that an address may hold, until it is dropped.
pub struct Share {
    shares: Shares,
    peer: IpAddr,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock().expect(HELD);
        if let Some(count) = held.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_so_many_and_others_as_many() {
        let shares = Shares::new(2);
        let (one, other): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = shares.take(one).unwrap();
        let _second = shares.take("::ffff:10.0.0.1".parse().unwrap()).unwrap();
        assert!(shares.take(one).is_none() && shares.take(other).is_some());
        drop(first);
        assert!(shares.take(one).is_some());
    }

    #[test]
    fn who_holds_nothing_is_not_remembered() {
        let shares = Shares::new(1);
        drop(shares.take([10, 0, 0, 1].into()));
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
