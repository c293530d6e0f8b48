//! How every deployment is doing, across reloads of the configuration and across processes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::Now;
use crate::live::Live;
use crate::window::Used;

/// Most deployments whose state is kept. Beyond it, those that no snapshot and no call uses are forgotten, and then
/// further ones have a state of their own that nobody else sees.
const MOST: usize = 16_384;

/// The live state of all deployments, by id.
///
/// A deployment keeps its state when the configuration is read again and still has it. Processes that share the
/// deployments tell each other [`Change`]s: what [`Board::drain_changes`] gives one, [`Board::apply`] takes at the
/// others.
#[derive(Debug, Default)]
pub struct Board {
    states: RwLock<HashMap<Arc<str>, Arc<Live>>>,
}

/// Something another process should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A deployment failed and rests.
    Rests {
        /// Its id.
        deployment: Arc<str>,
        /// For how long, from when this was said.
        millis: u64,
    },
    /// A deployment answers again.
    Answers {
        /// Its id.
        deployment: Arc<str>,
    },
    /// What was used of a deployment since the last such change.
    Used {
        /// Its id.
        deployment: Arc<str>,
        /// How much.
        used: Used,
    },
}

impl Change {
    fn deployment(&self) -> &Arc<str> {
        match self {
            Change::Rests { deployment, .. }
            | Change::Answers { deployment }
            | Change::Used { deployment, .. } => deployment,
        }
    }
}

/// How a deployment is doing, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its id.
    pub deployment: Arc<str>,
    /// Calls in flight.
    pub in_flight: u32,
    /// How much longer it rests after failing; 0 when it does not.
    pub rests_for_ms: u64,
    /// Its rest is over, and the next call tries whether it answers.
    pub half_open: bool,
    /// The last minute.
    pub minute: Used,
}

impl Board {
    /// The state of the deployment with this id.
    pub fn live(&self, id: &Arc<str>) -> Arc<Live> {
        self.find_or(id, || Live::new(id.clone()))
    }

    /// The state of `id`, whose calls count against the limits of `whole`, too, together with those of others.
    pub fn live_within(&self, id: &Arc<str>, whole: &Arc<str>) -> Arc<Live> {
        let whole = self.live(whole);
        self.find_or(id, || Live::within(id.clone(), whole))
    }

    fn find_or(&self, id: &Arc<str>, make: impl FnOnce() -> Live) -> Arc<Live> {
        let known = |states: &HashMap<Arc<str>, Arc<Live>>| states.get(id).cloned();
        if let Some(live) = known(&self.states.read().unwrap_or_else(PoisonError::into_inner)) {
            return live;
        }
        let mut states = self.states.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = known(&states) {
            return live;
        }
        if states.len() >= MOST {
            states.retain(|_, live| Arc::strong_count(live) > 1);
        }
        let live = Arc::new(make());
        if states.len() < MOST {
            states.insert(id.clone(), live.clone());
        }
        live
    }

    /// What other processes should know since this was last asked: at most two changes for each deployment.
    pub fn drain_changes(&self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        for live in self.all() {
            live.drain(now, &mut changes);
        }
        changes
    }

    /// What a process that has heard nothing yet should know: who rests, and for how much longer.
    pub fn resting(&self, now: Now) -> Vec<Change> {
        let rests = |standing: Standing| {
            let millis = standing.rests_for_ms;
            (millis > 0).then_some(Change::Rests { deployment: standing.deployment, millis })
        };
        self.all().iter().filter_map(|live| rests(live.standing(now))).collect()
    }

    /// Takes over what another process said. Of a deployment that nobody here has asked for only its rest is kept: who
    /// asks for it next must find it.
    pub fn apply(&self, change: &Change, now: Now) {
        if let Change::Rests { deployment, .. } = change {
            return self.live(deployment).apply(change, now);
        }
        let states = self.states.read().unwrap_or_else(PoisonError::into_inner);
        let live = states.get(change.deployment()).cloned();
        drop(states);
        if let Some(live) = live {
            live.apply(change, now);
        }
    }

    /// How every deployment is doing that has been called, by id.
    pub fn standings(&self, now: Now) -> Vec<Standing> {
        let mut all: Vec<Standing> = self.all().iter().map(|live| live.standing(now)).collect();
        all.sort_unstable_by(|one, other| one.deployment.cmp(&other.deployment));
        all
    }

    fn all(&self) -> Vec<Arc<Live>> {
        self.states.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::{Answer, Caps, Terms};
    use tollway_model::{Error, Kind};

    fn terms() -> Terms {
        Terms { cooling: Some(Arc::default()), rest: None, siblings: true }
    }

    #[test]
    fn what_one_process_learns_the_other_knows() {
        let (one, other) = (Board::default(), Board::default());
        let id: Arc<str> = "d".into();
        let (here, there) = (one.live(&id), other.live(&id));
        let flight = here.begin(&Caps::default(), terms(), false, Now(1_000)).unwrap();
        flight.answered(&Answer { tokens: 50, output: 5, streamed: false }, Now(1_500));
        let flight = here.begin(&Caps::default(), terms(), false, Now(2_000)).unwrap();
        flight.failed(&Error::new(Kind::RateLimit, "slow"), false, Now(2_000));
        // The other process has another clock: only durations travel.
        let changes = one.drain_changes(Now(3_000));
        let text = serde_json::to_string(&changes).unwrap();
        for change in serde_json::from_str::<Vec<Change>>(&text).unwrap() {
            other.apply(&change, Now(900_000));
        }
        assert_eq!(there.standing(Now(900_000)).rests_for_ms, 4_000);
        assert_eq!((there.tokens(Now(900_000)), there.standing(Now(900_000)).minute.calls), (50, 2));
        assert_eq!(one.drain_changes(Now(3_000)), []);
        assert_eq!(other.drain_changes(Now(900_000)), [], "what came from elsewhere is not sent back");
        let mut probe = there.begin(&Caps::default(), terms(), false, Now(905_000)).unwrap();
        probe.answers(Now(905_100));
        for change in other.drain_changes(Now(905_100)) {
            one.apply(&change, Now(4_000));
        }
        assert_eq!(here.cooling(Now(4_000)), None);
    }

    #[test]
    fn who_has_not_heard_yet_is_told_who_rests() {
        let (one, other) = (Board::default(), Board::default());
        for (id, kind) in [("resting", Kind::RateLimit), ("fine", Kind::ContextWindow)] {
            let flight = one.live(&id.into()).begin(&Caps::default(), terms(), false, Now(1_000)).unwrap();
            flight.failed(&Error::new(kind, "no"), false, Now(1_000));
        }
        let resting = one.resting(Now(2_000));
        assert_eq!(resting, [Change::Rests { deployment: "resting".into(), millis: 4_000 }]);
        // Nobody there has asked for it.
        other.apply(&resting[0], Now(70_000));
        assert_eq!(other.live(&"resting".into()).cooling(Now(70_000)), Some(crate::Denied::Resting(4_000)));
        assert_eq!(one.resting(Now(6_001)), []);
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_is_used_stays() {
        let board = Board::default();
        let kept = board.live(&"kept".into());
        for number in 0..MOST + 100 {
            board.live(&number.to_string().into());
        }
        assert!(board.all().len() <= MOST);
        assert!(Arc::ptr_eq(&kept, &board.live(&"kept".into())));
    }
}
