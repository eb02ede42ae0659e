//! Where containers are reached. An engine gives the address of a container that has ended to the next one
//! that starts, perhaps another team's, so what is known of an address ends with the container that had it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{id::JobId, traffic::Traffic};

const HELD: &str = "no code panics while it holds this lock";

/// A container that runs, as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub run: JobId,
    /// Its name, which no other container ever has.
    pub container: String,
    pub address: IpAddr,
}

/// Where a run's container is reached, and what passes.
#[derive(Debug, Clone)]
pub struct Reach {
    pub address: IpAddr,
    pub traffic: Arc<Traffic>,
    pub stay: Arc<Stay>,
}

/// The stay of one container at one address. Whoever has it next has another stay there.
#[derive(Debug)]
pub struct Stay {
    number: u64,
    container: String,
    over: AtomicBool,
}

impl Stay {
    /// Returns what no other stay has, of this address or any.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Says whether somebody else may be reached at the address by now.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Whereabouts(RwLock<Known>);

#[derive(Debug, Default)]
struct Known {
    reach: HashMap<JobId, Reach>,
    /// The look at which a container was seen first.
    first_seen: HashMap<String, u64>,
    looks: u64,
    stays: u64,
}

impl Whereabouts {
    /// Returns where a run's container is; `None` while nobody knows.
    pub fn reach(&self, run: &JobId) -> Option<Reach> {
        self.0.read().expect(HELD).reach.get(run).cloned()
    }

    /// Says who runs now, all at once. Whoever is not among them has ended, and what was counted of it is
    /// forgotten. Where several are said to have one address, it is that of the one that was seen last: the
    /// others have ended, and the list is late. When nobody can tell which, it is nobody's.
    pub fn set(&self, now: Vec<Located>) {
        let mut known = self.0.write().expect(HELD);
        let now = known.only_one_at_each(now);
        let is_there = |located: &Located| {
            let reach = known.reach.get(&located.run);
            reach.is_some_and(|reach| reach.address == located.address && reach.stay.container == located.container)
        };
        if known.reach.len() == now.len() && now.iter().all(is_there) {
            return;
        }
        let mut before = std::mem::take(&mut known.reach);
        for Located { run, container, address } in now {
            let reach = match before.remove(&run) {
                Some(reach) if reach.address == address && reach.stay.container == container => reach,
                before => {
                    known.stays += 1;
                    let stay = Stay { number: known.stays, container, over: AtomicBool::new(false) };
                    let traffic = before.map(|before| {
                        before.stay.end();
                        before.traffic
                    });
                    Reach { address, traffic: traffic.unwrap_or_default(), stay: Arc::new(stay) }
                }
            };
            known.reach.insert(run, reach);
        }
        before.values().for_each(|reach| reach.stay.end());
    }

    /// Forgets where a container is that has ended, before its address is somebody else's.
    pub fn forget(&self, container: &str) {
        self.0.write().expect(HELD).reach.retain(|_, reach| {
            let stays = reach.stay.container != container;
            if !stays {
                reach.stay.end();
            }
            stays
        });
    }
}

impl Known {
    /// Leaves out whoever is said to be where somebody newer is.
    fn only_one_at_each(&mut self, now: Vec<Located>) -> Vec<Located> {
        self.looks += 1;
        let mut seen = HashMap::with_capacity(now.len());
        for located in &now {
            let first = self.first_seen.get(&located.container).copied().unwrap_or(self.looks);
            seen.insert(located.container.clone(), first);
        }
        self.first_seen = seen;
        let mut newest: HashMap<IpAddr, (u64, u32)> = HashMap::with_capacity(now.len());
        for located in &now {
            let first = self.first_seen[&located.container];
            let (last, how_many) = newest.entry(located.address).or_insert((first, 0));
            match first.cmp(last) {
                std::cmp::Ordering::Greater => (*last, *how_many) = (first, 1),
                std::cmp::Ordering::Equal => *how_many += 1,
                std::cmp::Ordering::Less => {}
            }
        }
        let is_its_own = |located: &Located| newest[&located.address] == (self.first_seen[&located.container], 1);
        now.into_iter().filter(is_its_own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    /// The run `number`, in a container of its present attempt.
    fn located(number: u8, attempt: u8, last: u8) -> Located {
        let run: JobId = format!("js00000000000{number}").parse().unwrap();
        Located { container: format!("{run}-{attempt}"), address: [172, 18, 0, last].into(), run }
    }

    #[test]
    fn what_runs_on_keeps_its_counters_and_what_ended_is_forgotten() {
        let all = Whereabouts::default();
        let (one, two) = (located(1, 1, 2), located(2, 1, 3));
        all.set(vec![one.clone()]);
        all.reach(&one.run).unwrap().traffic.passed_in(7, Timestamp(1));
        all.set(vec![one.clone(), two.clone()]);
        assert_eq!(all.reach(&one.run).unwrap().traffic.now().bytes_in, 7);
        all.set(vec![two.clone()]);
        assert!(all.reach(&one.run).is_none());
        assert_eq!(all.reach(&two.run).unwrap().address, two.address);
    }

    #[test]
    fn an_end_is_known_to_whoever_already_knows_the_way() {
        let all = Whereabouts::default();
        let (one, two) = (located(1, 1, 2), located(2, 1, 3));
        all.set(vec![one.clone(), two.clone()]);
        let (way, other) = (all.reach(&one.run).unwrap(), all.reach(&two.run).unwrap());
        all.forget(&one.container);
        assert!(all.reach(&one.run).is_none() && way.stay.is_over());
        assert!(!other.stay.is_over());
        all.set(Vec::new());
        assert!(other.stay.is_over());
    }

    #[test]
    fn an_address_that_is_given_again_is_another_stay() {
        let all = Whereabouts::default();
        let (first, second) = (located(1, 1, 2), located(1, 2, 2));
        all.set(vec![first.clone()]);
        let before = all.reach(&first.run).unwrap();
        all.set(vec![first.clone(), located(2, 1, 3)]);
        assert_eq!(all.reach(&first.run).unwrap().stay.number(), before.stay.number());
        all.set(vec![second.clone()]);
        let after = all.reach(&second.run).unwrap();
        assert!(before.stay.is_over() && !after.stay.is_over());
        assert_ne!(before.stay.number(), after.stay.number());
    }

    #[test]
    fn two_at_one_address_is_the_newer_one_however_often_the_list_is_late() {
        let all = Whereabouts::default();
        let (old, new) = (located(1, 1, 2), located(2, 1, 2));
        all.set(vec![old.clone()]);
        let way = all.reach(&old.run).unwrap();
        for order in [[&old, &new], [&new, &old], [&old, &new]] {
            all.set(order.map(Clone::clone).into());
            assert!(all.reach(&old.run).is_none() && way.stay.is_over());
            assert_eq!(all.reach(&new.run).unwrap().address, new.address);
        }
    }

    #[test]
    fn an_address_is_nobodys_while_nobody_can_tell_whose() {
        let all = Whereabouts::default();
        let (one, two, third) = (located(1, 1, 2), located(2, 1, 2), located(3, 1, 3));
        all.set(vec![one.clone(), two.clone(), third.clone()]);
        assert!(all.reach(&one.run).is_none() && all.reach(&two.run).is_none() && all.reach(&third.run).is_some());
        all.set(vec![two.clone(), third]);
        assert!(all.reach(&two.run).is_some());
    }
}
