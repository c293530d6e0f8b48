use tollway_model::Money;

use super::*;
use crate::{Limits, Scope, ScopeKind};

fn at(steady: u64) -> Moment {
    Moment { wall: 1_793_000_000_000, steady }
}

fn claim(id: &str) -> Claim {
    let scope = Scope { kind: ScopeKind::Key, id: id.into() };
    Claim { scope, limits: Arc::new(Limits { rpm: Some(1000), ..Limits::default() }) }
}

fn demand(tokens: u64, money: i64) -> Demand {
    Demand { tokens, money: Money::from_nanos(money), free: false }
}

fn step(pool: &Arc<Pool>, now: u64) -> Step {
    pool.step(demand(10, 5), at(now), true, &mut Vec::new())
}

#[test]
fn the_same_claims_are_one_pool_and_changed_limits_another() {
    let pools = Pools::new();
    let claims = [claim("a"), claim("b")];
    let pool = pools.get(&claims, false, at(0)).unwrap();
    let is_same = |claims: &[Claim], free| Arc::ptr_eq(&pool, &pools.get(claims, free, at(0)).unwrap());
    assert!(is_same(&claims.clone(), false));
    assert!(!is_same(&claims, true));
    assert!(!is_same(&claims[..1], false));
    let changed = Claim { limits: Arc::new((*claims[1].limits).clone()), ..claims[1].clone() };
    assert!(!is_same(&[claims[0].clone(), changed], false));
}

#[test]
fn pools_are_bounded_and_idle_ones_make_room() {
    let pools = Pools::new();
    // All at once: what is gone leaves its address to the next.
    let all: Vec<Claim> = (0..20_000).map(|number| claim(&number.to_string())).collect();
    let is_kept = |claim: &Claim, now| pools.get(std::slice::from_ref(claim), false, at(now)).is_some();
    let kept = |now| all.iter().filter(|claim| is_kept(claim, now)).count();
    let most = usize::try_from(SHARDS).unwrap() * WAYS;
    assert_eq!(kept(0), most);
    assert_eq!(kept(IDLE), most, "those that are there are found");
    assert_eq!(kept(IDLE + 1), all.len());
    assert_eq!(pools.shards.iter().map(|shard| shard.lock().unwrap().len()).sum::<usize>(), most);
}

#[test]
fn seldom_calls_are_decided_by_themselves_and_frequent_ones_ask_for_as_many_as_will_come() {
    let pool = Pools::new().get(&[claim("a")], false, at(0)).unwrap();
    for number in 0..20 {
        assert!(matches!(step(&pool, number * 40), Step::Alone), "{number}");
    }
    for _ in 0..FEWEST - 1 {
        assert!(matches!(step(&pool, 5000), Step::Alone));
    }
    let Step::Ask(question) = step(&pool, 5000) else { panic!("nobody asks") };
    assert_eq!(question.wish, Wish { more: 2 * FEWEST - 1, tokens: 12, money: 6 });
    drop(question);
    for _ in 0..100 {
        step(&pool, 5001);
    }
    let Step::Ask(question) = step(&pool, 5000 + STRETCH) else { panic!("nobody asks") };
    assert_eq!(question.wish.more, 2 * (FEWEST + 100) - 1);
}

#[tokio::test]
async fn others_wait_for_a_question_until_it_is_answered_or_given_up() {
    let pool = Pools::new().get(&[claim("a")], false, at(0)).unwrap();
    (0..FEWEST - 1).for_each(|_| drop(step(&pool, 0)));
    let ask = || match step(&pool, 0) {
        Step::Ask(question) => question,
        _ => panic!("nobody asks"),
    };
    let first = ask();
    assert!(matches!(step(&pool, 0), Step::Alone), "nothing is known yet");
    drop(first);
    pool.scarce.store(false, Ordering::Relaxed);
    let check = async |answer: fn(Question), is_there: bool| {
        let question = ask();
        let Step::Wait(asking) = step(&pool, 0) else { panic!("nobody waits") };
        let (found, ()) = tokio::join!(asking.wait(&pool), async { answer(question) });
        assert_eq!(found, is_there);
        // Too late to wait.
        assert_eq!(asking.wait(&pool).await, is_there);
        pool.scarce.store(false, Ordering::Relaxed);
    };
    check(drop, true).await;
    check(Question::denied, true).await;
    check(Question::away, false).await;
}
