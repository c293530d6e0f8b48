use tollway_model::Secret;
use tollway_testkit::FakeProvider;

use super::*;

fn access(fake: &FakeProvider) -> Access {
    Access {
        sources: vec![Source::Container {
            url: format!("{}/container-credentials", fake.url()),
            token: Some(aws::Text::Given("container-token".into())),
        }],
        ambient: Vec::new(),
        role: None,
        sts_endpoint: String::new(),
        sts_region: String::new(),
        id: "a".to_owned(),
    }
}

/// Credentials that were fetched earlier and expire in so many seconds.
fn old(seconds: i64) -> Current {
    let expires = unix_seconds() + seconds;
    Current {
        credentials: Credentials {
            access_key_id: "old".to_owned(),
            secret_access_key: Secret::new("s"),
            session_token: None,
            expires: Some(expires),
        },
        renew_at: expires - EARLY,
    }
}

/// The key that calls sign with at once, and the one kept a little later.
async fn check(left: i64, at_once: &str, later: &str) {
    let fake = FakeProvider::start().await.unwrap();
    let (vault, transport, access) = (Vault::default(), Transport::default(), access(&fake));
    let slot = vault.slot(&access.id);
    slot.kept().current = Some(old(left));
    for _ in 0..3 {
        assert_eq!(vault.get(&transport, &access).await.unwrap().access_key_id, at_once, "{left} s left");
    }
    // Whoever renews holds this.
    drop(slot.renewal.lock().await);
    let kept = slot.kept().current.clone().unwrap();
    assert_eq!(kept.credentials.access_key_id, later, "{left} s left");
    assert!(fake.received().len() <= 1, "{left} s left: asked more than once");
}

#[tokio::test]
async fn credentials_are_renewed_behind_the_call_and_only_waited_for_when_they_end() {
    check(EARLY + 60, "old", "old").await;
    check(EARLY - 60, "old", "ASIAFAKESESSION").await;
    check(LATE - 1, "ASIAFAKESESSION", "ASIAFAKESESSION").await;
}

#[tokio::test]
async fn a_failed_renewal_leaves_what_still_holds() {
    let fake = FakeProvider::start().await.unwrap();
    let (vault, transport) = (Vault::default(), Transport::default());
    let mut access = access(&fake);
    access.sources =
        vec![Source::Container { url: format!("{}/container-credentials", fake.url()), token: None }];
    let slot = vault.slot(&access.id);
    slot.kept().current = Some(old(EARLY - 60));
    assert_eq!(vault.get(&transport, &access).await.unwrap().access_key_id, "old");
    drop(slot.renewal.lock().await);
    assert!(slot.recent_failure().is_some());
    assert_eq!(vault.get(&transport, &access).await.unwrap().access_key_id, "old");
    assert_eq!(fake.received().len(), 1);
    slot.kept().current = Some(old(0));
    let error = vault.get(&transport, &access).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (Kind::Authentication, Retry::Elsewhere));
}
