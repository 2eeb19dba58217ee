//! Sessions that are looked at again while they live.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_due_is_taken_by_one_process_and_again_when_its_time_has_come() {
    for place in places().await {
        let (one, other) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        for subject in ["a", "b", "c"] {
            let mut new = new_session(&one.store, subject).await;
            new.method = "ldap";
            one.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        }
        one.sign_in("by-oidc").await;
        let interval = Duration::from_mins(10);
        let take = async |gateway: &Gateway, most, now| {
            let due = gateway.sessions.take_due("ldap", interval, most, now).await.unwrap();
            due.into_iter().map(|due| due.subject).collect::<Vec<_>>()
        };
        assert!(take(&one, 9, NOW.plus(599)).await.is_empty(), "not due yet");
        let at = NOW.plus(600);
        let (mut first, second) = tokio::join!(take(&one, 2, at), take(&other, 2, at));
        first.extend(second);
        first.extend(take(&other, 9, at).await);
        first.sort();
        assert_eq!(first, ["a", "b", "c"], "each once, and nobody else");
        // Whoever took them did not come back.
        let due = one.sessions.take_due("ldap", interval, 9, at.plus(60)).await.unwrap();
        assert_eq!(due.len(), 3);
        assert!(due.iter().all(|due| due.vouched == NOW));
        let (vouched, left) = due.split_at(2);
        let vouched: Vec<_> = vouched.iter().collect();
        one.sessions.vouch_for(&vouched, interval, at.plus(60)).await.unwrap();
        let unvouched = other.sessions.unvouched("ldap", at, at.plus(90)).await.unwrap();
        assert_eq!(unvouched.len(), 1);
        assert_eq!(unvouched[0].subject, left[0].subject);
        assert!(take(&one, 9, at.plus(90)).await.is_empty());
        let again = take(&one, 9, at.plus(60 + 600)).await;
        assert_eq!(again.len(), 3);
        // A shorter interval holds for those who were planned by a longer one.
        one.sessions
            .vouch_for(&vouched, Duration::from_hours(25), at.plus(700))
            .await
            .unwrap();
        assert_eq!(take(&other, 9, at.plus(720)).await.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_groups_reach_every_process_in_the_live_session_and_an_ended_one_is_out() {
    for place in places().await {
        let (one, other) = (Gateway::start(&place, RULES).await, Gateway::start(&place, RULES).await);
        let mut new = new_session(&one.store, "a").await;
        new.method = "ldap";
        let (token, session) = one.sessions.begin(new, None, &Actor::system(), NOW).await.unwrap();
        assert!(other.live(&token, NOW).await.is_some());
        let later = NOW.plus(600);
        let due = one
            .sessions
            .take_due("ldap", Duration::from_mins(10), 9, later)
            .await
            .unwrap();
        let before = session.claims().groups.clone();
        assert!(!one.sessions.take_groups(&due[0], before, later).await.unwrap());
        assert!(
            one.sessions
                .take_groups(&due[0], vec!["new".to_owned()], later)
                .await
                .unwrap()
        );
        for gateway in [&one, &other] {
            gateway.follow(later).await;
            let live = gateway.live(&token, later).await.unwrap();
            assert_eq!(live.claims().groups, ["new"]);
        }
        assert!(one.sessions.end_due(&due[0], "gone", later).await.unwrap());
        assert!(!one.sessions.end_due(&due[0], "gone", later).await.unwrap());
        other.follow(later).await;
        assert!(other.live(&token, later).await.is_none() && one.live(&token, later).await.is_none());
    }
}
