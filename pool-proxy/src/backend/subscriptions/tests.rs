//! Tests of topics, their subscribers and their limits.

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn a_topic_lasts_from_its_first_subscriber_to_its_last() {
    let subscriptions = Subscriptions::new();
    let (one, two) = (
        subscriptions.subscriber(&Principal::everybody()),
        subscriptions.subscriber(&Principal::everybody()),
    );
    let first = one.join("a:1").unwrap();
    let number = subscriptions.wanted()["a:1"];
    subscriptions.answered("a:1", number, Ok(()));
    first.answer().await.unwrap();
    two.join("a:1").unwrap().answer().await.unwrap();
    one.unsubscribe("a:1");
    assert_eq!(subscriptions.wanted()["a:1"], number);
    assert!(subscriptions.unneeded().now_or_never().is_none());
    drop(two);
    assert!(subscriptions.wanted().is_empty());
    assert!(subscriptions.unneeded().now_or_never().is_some());
}

#[tokio::test]
async fn a_refused_or_abandoned_subscription_leaves_nothing_and_an_earlier_one_stays() {
    let subscriptions = Subscriptions::new();
    let one = subscriptions.subscriber(&Principal::everybody());
    let joined = one.join("a:1").unwrap();
    let number = subscriptions.wanted()["a:1"];
    subscriptions.answered("a:1", number, Err(ErrorObject::new(-32002, "no")));
    assert!(matches!(
        joined.answer().await,
        Err(NotSubscribed::Refused(_))
    ));
    assert!(subscriptions.wanted().is_empty());
    drop(one.join("a:2").unwrap());
    assert!(subscriptions.wanted().is_empty());

    let joined = one.join("a:3").unwrap();
    subscriptions.answered("a:3", subscriptions.wanted()["a:3"], Ok(()));
    joined.answer().await.unwrap();
    drop(one.join("a:3").unwrap());
    assert_eq!(subscriptions.wanted().len(), 1);
}

#[tokio::test]
async fn updates_reach_those_who_want_them_and_several_count_as_one() {
    let subscriptions = Subscriptions::new();
    let (one, two) = (
        subscriptions.subscriber(&Principal::everybody()),
        subscriptions.subscriber(&Principal::everybody()),
    );
    let joined = (one.join("f:///a").unwrap(), two.join("f:///ab").unwrap());
    for uri in ["f:///a", "f:///a", "f:///a/b", "f:///b"] {
        subscriptions.updated(uri);
    }
    assert_eq!(&*one.next().await, "f:///a");
    assert_eq!(&*one.next().await, "f:///a/b");
    assert!(one.next().now_or_never().is_none());
    assert!(two.next().now_or_never().is_none());
    drop(joined);
}

#[tokio::test]
async fn a_request_that_was_given_up_ends_no_subscription_of_another() {
    let subscriptions = Subscriptions::new();
    let one = subscriptions.subscriber(&Principal::everybody());
    let (first, second) = (one.join("a").unwrap(), one.join("a").unwrap());
    drop(first);
    let number = subscriptions.wanted()["a"];
    subscriptions.answered("a", number, Ok(()));
    let third = one.join("a").unwrap();
    second.answer().await.unwrap();
    drop(third);
    subscriptions.updated("a");
    assert_eq!(&*one.next().await, "a");
    let again = one.join("b").unwrap();
    one.unsubscribe("b");
    let last = one.join("b").unwrap();
    drop(again);
    assert!(subscriptions.wanted().contains_key("b"));
    drop(last);
    assert!(!subscriptions.wanted().contains_key("b"));
}

#[tokio::test]
async fn what_one_client_named_is_not_told_to_another() {
    let subscriptions = Subscriptions::new();
    let (one, two) = (
        subscriptions.subscriber(&Principal::everybody()),
        subscriptions.subscriber(&Principal::everybody()),
    );
    let joined = (one.join("f:///").unwrap(), two.join("f:///secret").unwrap());
    subscriptions.updated("f:///secret");
    assert_eq!(&*one.next().await, "f:///");
    assert_eq!(&*two.next().await, "f:///secret");
    drop(joined);
}

#[tokio::test]
async fn many_or_long_updates_of_a_part_become_one_of_the_whole() {
    let subscriptions = Subscriptions::new();
    let one = subscriptions.subscriber(&Principal::everybody());
    let joined = (one.join("f:///").unwrap(), one.join("g").unwrap());
    subscriptions.updated(&format!("f:///{}", "x".repeat(URI_BYTES_MAX)));
    assert_eq!(&*one.next().await, "f:///");
    for number in 0..=SUBSCRIPTIONS_MAX {
        subscriptions.updated(&format!("f:///{number}"));
    }
    subscriptions.updated("g");
    let mut told = Vec::new();
    while let Some(uri) = one.next().now_or_never() {
        told.push(uri);
    }
    assert_eq!(told.len(), SUBSCRIPTIONS_MAX + 2);
    assert!(told.contains(&"f:///".into()) && told.contains(&"g".into()));
    drop(joined);
}

#[test]
fn a_key_has_no_more_than_it_may_have() {
    let subscriptions = Subscriptions::new();
    // As much as it can, one principal after another.
    let mut clients = Vec::new();
    let mut number = 0;
    for principal in 0..20 {
        let principal = Principal::of(&principal.to_string());
        let before = number;
        'all: loop {
            let client = subscriptions.subscriber(&principal);
            for _ in 0..SUBSCRIPTIONS_MAX {
                let uri = number.to_string();
                let joined = client.join(&uri);
                let has_room = joined.map(|mut joined| joined.number = None).is_ok();
                if !has_room {
                    clients.push(client);
                    break 'all;
                }
                number += 1;
            }
            clients.push(client);
        }
        let taken = number - before;
        assert_eq!(taken, (TOPICS_MAX - before).div_ceil(2));
    }
    assert_eq!(number, TOPICS_MAX);
    let last = clients.last().unwrap();
    assert!(matches!(last.join("x"), Err(NotSubscribed::TooMany)));
    assert!(last.join("0").is_ok(), "others have it already");
    drop(clients);
    let state = subscriptions.lock();
    assert!(state.topics.is_empty() && state.owned.is_empty());
}

#[test]
fn a_topic_belongs_to_one_that_is_subscribed() {
    let subscriptions = Subscriptions::new();
    let of = |name| subscriptions.subscriber(&Principal::of(name));
    let owner = || subscriptions.lock().topics["a:1"].owner.clone();
    let (one, again, other) = (of("one"), of("one"), of("other"));
    for client in [&one, &again, &other] {
        client.join("a:1").unwrap().number = None;
    }
    drop(one);
    assert_eq!(owner(), Principal::of("one"));
    drop(again);
    assert_eq!(owner(), Principal::of("other"));
    assert_eq!(subscriptions.lock().owned.len(), 1);
}

#[test]
fn a_client_has_no_more_than_it_may_have() {
    let subscriptions = Subscriptions::new();
    let one = subscriptions.subscriber(&Principal::everybody());
    for number in 0..SUBSCRIPTIONS_MAX {
        one.join(&number.to_string()).unwrap().number = None;
    }
    assert!(matches!(one.join("x"), Err(NotSubscribed::TooMany)));
    assert!(one.join("0").is_ok(), "it has this one");
    one.unsubscribe("0");
    let long = "x".repeat(URI_BYTES_MAX + 1);
    assert!(matches!(one.join(&long), Err(NotSubscribed::TooMany)));
}
