use std::sync::{Arc, Weak};

use proptest::prelude::*;
use tollway_model::Money;

use super::*;
use crate::state::Took;
use crate::{Budget, Claim, Limits, ManualClock, Meters, NothingSpent, Options, ScopeKind, Window};

const BEGIN: i64 = 1_793_000_000_000;
/// How long the blocks of these tests are valid, milliseconds.
const VALID: u64 = 100;

struct World {
    clock: Arc<ManualClock>,
    meters: Meters,
}

impl World {
    fn new() -> World {
        let clock = Arc::new(ManualClock::at(BEGIN));
        let meters = Meters::new(Options::default(), Arc::new(NothingSpent), Arc::clone(&clock) as _);
        World { clock, meters }
    }

    fn inner(&self) -> &Inner {
        &self.meters.inner
    }

    /// A block as the store grants it, counted in this process.
    fn block(&self, size: Size, window: Window) -> Arc<Block> {
        let budgets = vec![Budget { window, max: Some(Money::from_nanos(i64::MAX)), soft: None }];
        let limits = Limits {
            rpm: Some(1 << 40),
            tpm: Some(1 << 40),
            parallel: Some(1 << 40),
            budgets,
            ..Limits::default()
        };
        let claim = |kind| {
            let scope = Scope { kind, id: "s".into() };
            Claim { scope, limits: Arc::new(limits.clone()) }
        };
        let claims = [claim(ScopeKind::Key), claim(ScopeKind::Team)];
        let (now, money) = (self.inner().now(), Money::from_nanos(size.money));
        let demand = Demand { tokens: size.tokens, money, free: false };
        let mut taken = self.inner().taken(&claims, demand, now);
        let mut parts = Vec::new();
        for taken in &mut taken {
            let mut state = taken.entry.as_ref().unwrap().state();
            state.roll(&taken.limits, now.wall);
            state.take_many(&mut taken.took, size.requests, size.places);
            let pots = state.pots_of(&taken.limits);
            drop(state);
            parts.push(Part::new(taken, pots));
        }
        Arc::new(Block::new(1, (taken, parts), size, (now, VALID), Weak::new()))
    }

    /// Requests, tokens and places that this process counts for the first claim.
    fn counted(&self, block: &Block) -> (u64, u64, u64) {
        let Left { requests, tokens, in_flight, .. } =
            block.claims[0].entry.as_ref().unwrap().state().left(&block.claims[0].limits);
        (requests, tokens, in_flight)
    }
}

fn nobody(_: &Scope) -> bool {
    false
}

fn demand(tokens: u64, money: i64) -> Demand {
    Demand { tokens, money: Money::from_nanos(money), free: false }
}

#[derive(Debug, Clone)]
enum Step {
    Draw(Demand),
    Settle(usize, Spent, bool),
    Tell,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let spent = (0_u64..150, 0_i64..30, any::<bool>()).prop_map(|(tokens, money, refused)| {
        let tokens = if refused { 0 } else { tokens };
        let money = Money::from_nanos(if refused { 0 } else { money });
        Spent { tokens, money, refused }
    });
    let step = prop_oneof![
        4 => (0_u64..100, 0_i64..20).prop_map(|(tokens, money)| Step::Draw(demand(tokens, money))),
        3 => (0_usize..8, spent, proptest::bool::weighted(0.2))
            .prop_map(|(index, spent, apart)| Step::Settle(index, spent, apart)),
        1 => Just(Step::Tell),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest! {
    /// Whatever calls do: the store is told of everything that was used once, and gets back exactly the rest.
    #[test]
    fn everything_that_was_taken_is_used_or_comes_back(steps in steps(), close_at in 0_usize..80) {
        let world = World::new();
        let size = Size { requests: 20, tokens: 1000, money: 200, places: 8 };
        let block = world.block(size, Window::Lifetime);
        let is_team = |scope: &Scope| scope.kind == ScopeKind::Team;
        let (mut calls, mut told, mut used) = (Vec::new(), Report::default(), [(0, 0, 0), (0, 0, 0)]);
        let (mut held, mut places) = (0, 0);
        for (number, step) in steps.into_iter().enumerate() {
            if number == close_at {
                block.close(world.inner());
            }
            match step {
                Step::Draw(demand) => {
                    if let Ok((draw, _)) = block.draw(demand, world.inner().now(), 0) {
                        (held, places) = (held + demand.money.nanos(), places + 1);
                        calls.push((draw, demand));
                    }
                }
                Step::Settle(index, spent, apart) if !calls.is_empty() => {
                    let (draw, demand) = calls.swap_remove(index % calls.len());
                    (held, places) = (held - demand.money.nanos(), places - 1);
                    let apart: &dyn Fn(&Scope) -> bool = if apart { &is_team } else { &nobody };
                    draw.block.settle(world.inner(), demand, (spent, apart), true);
                    let of = |kind| apart(&Scope { kind, id: "s".into() });
                    for (used, kind) in used.iter_mut().zip([ScopeKind::Key, ScopeKind::Team]) {
                        if !of(kind) {
                            used.0 += i64::from(!spent.refused);
                            used.1 += signed(spent.tokens);
                            used.2 += spent.money.nanos();
                        }
                    }
                }
                // Nothing is told of a block that is open.
                Step::Settle(..) => {}
                Step::Tell if number < close_at => {}
                Step::Tell => {
                    let (report, over) = block.report();
                    prop_assert!(!over || calls.is_empty());
                    block.confirmed(&report.all);
                    told.add(&report);
                    // What the store holds is never less than what calls hold.
                    prop_assert!(block.held().0 >= held && block.held().1 >= places);
                }
            }
        }
        block.close(world.inner());
        for (draw, demand) in calls {
            let refused = Spent { refused: true, ..Spent::default() };
            draw.block.settle(world.inner(), demand, (refused, &nobody), true);
        }
        let (report, over) = block.report();
        prop_assert!(over);
        block.confirmed(&report.all);
        told.add(&report);
        prop_assert_eq!(block.held(), (0, 0));
        for (index, used) in used.into_iter().enumerate() {
            let change = told.of(index);
            prop_assert_eq!(signed(size.requests) - change.requests, used.0);
            prop_assert_eq!(signed(size.tokens) - change.tokens + change.beyond, used.1);
            prop_assert_eq!(change.spent, used.2);
            prop_assert!(change.requests >= 0 && change.tokens >= 0 && change.beyond >= 0);
        }
        let expected = (used[0].0.unsigned_abs(), used[0].1.unsigned_abs(), 0);
        prop_assert_eq!(world.counted(&block), expected);
    }
}

#[test]
fn calls_are_admitted_only_until_the_slot_ends() {
    let world = World::new();
    let block = world.block(Size { requests: 5, tokens: 50, money: 50, places: 5 }, Window::Lifetime);
    world.clock.advance(VALID - 1);
    assert!(block.draw(demand(1, 1), world.inner().now(), 0).is_ok());
    world.clock.advance(1);
    assert_eq!(block.draw(demand(1, 1), world.inner().now(), 0).unwrap_err(), Dry::Over);
}

#[test]
fn calls_are_admitted_only_in_the_window_whose_money_is_held() {
    let world = World::new();
    let window = Window::Every { length: 1000, anchor: BEGIN + 40 };
    let block = world.block(Size { requests: 5, tokens: 50, money: 50, places: 5 }, window);
    world.clock.advance(39);
    assert!(block.draw(demand(1, 1), world.inner().now(), 0).is_ok());
    world.clock.advance(1);
    assert_eq!(block.draw(demand(1, 1), world.inner().now(), 0).unwrap_err(), Dry::Over);
}

#[test]
fn large_calls_are_decided_by_themselves_and_do_not_end_the_block() {
    let world = World::new();
    let block = world.block(Size { requests: 5, tokens: 50, money: 50, places: 2 }, Window::Lifetime);
    let check = |demand, expected: Result<(), Dry>| {
        let found = block.draw(demand, world.inner().now(), 0).map(|_| ());
        assert_eq!(found, expected, "{demand:?}");
    };
    check(demand(51, 1), Err(Dry::Unfit));
    check(demand(1, 51), Err(Dry::Unfit));
    check(demand(40, 1), Ok(()));
    check(demand(11, 1), Err(Dry::Over));
    check(demand(5, 30), Ok(()));
    check(demand(1, 1), Err(Dry::Unfit));
}

#[test]
fn what_is_left_is_told_without_what_nobody_has_drawn() {
    let world = World::new();
    let block = world.block(Size { requests: 5, tokens: 50, money: 50, places: 5 }, Window::Lifetime);
    let mut told = Block::new(
        1,
        (Vec::new(), Vec::new()),
        Size { requests: 5, tokens: 50, money: 50, places: 5 },
        (world.inner().now(), VALID),
        Weak::new(),
    );
    let left = Left {
        requests: 105,
        tokens: 250,
        in_flight: 9,
        budget: Some((Money::from_nanos(99), Money::from_nanos(60))),
    };
    told.claims = block
        .claims
        .iter()
        .map(|taken| Taken {
            left,
            limits: Arc::clone(&taken.limits),
            scope: taken.scope.clone(),
            entry: taken.entry.clone(),
            took: Took { ..taken.took },
        })
        .collect();
    let draw = Arc::new(told).draw_first(demand(20, 10));
    let state = draw.states().remove(1);
    let most = 1 << 40;
    assert_eq!(state.requests, Some((most, most - 101)));
    assert_eq!(state.tokens, Some((most, most - 220)));
    assert_eq!(state.parallel, Some((most, most - 5)));
    assert_eq!(state.budget, Some((Money::from_nanos(99), Money::from_nanos(20))));
}
