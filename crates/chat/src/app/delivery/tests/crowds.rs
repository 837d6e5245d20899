//! Delivery to more sockets than one invocation pushes to.

use super::*;
use crate::{
    model::{limits::DISPATCH_ATTEMPTS, parts::Parts},
    ports::fan_out::SHARD_CONNECTIONS,
};

#[tokio::test]
async fn more_subscribers_than_the_threshold_are_reached_in_shards() {
    let world = World::new(1, SHARD_CONNECTIONS + 1);
    assert_eq!(world.deliver(1..=3, 200).await.requeued, SHARD_CONNECTIONS + 1);
    assert_eq!(world.requeued.lock().unwrap().len(), 2);
    assert_eq!(world.finish().await.delivered, SHARD_CONNECTIONS + 1);
    for number in 0..=SHARD_CONNECTIONS {
        assert_eq!(world.received(number), [1, 2, 3]);
    }
}

#[tokio::test]
async fn a_crowd_is_dispatched_at_its_rate() {
    let world = World::new(1, 3 * SHARD_CONNECTIONS + 10);
    let messages = [created(CHANNEL, 1, "hi")];
    let slow = Reach { threshold: 200, rate: 100 };
    let began = world.clock.monotonic();
    let report = world.delivery().deliver(&key(CHANNEL), &messages, slow).await.unwrap();
    assert_eq!(report.requeued, 3 * SHARD_CONNECTIONS + 10);
    let dispatched: Vec<(Duration, usize)> =
        world.dispatched.lock().unwrap().iter().map(|(at, count)| (at.saturating_sub(began), *count)).collect();
    let second = Duration::from_secs;
    assert_eq!(
        dispatched,
        [(second(0), 500), (second(5), 500), (second(10), 500), (second(15), 10)],
        "500 sockets of 100 a second take five seconds"
    );
    let took = world.clock.monotonic().saturating_sub(began);
    assert_eq!(took, Duration::from_millis(15_100), "the next delivery begins when all are paid for");
}

#[tokio::test]
async fn the_end_of_an_invocation_leaves_out_no_socket_of_a_crowd() {
    let world = World::new(1, 30 * SHARD_CONNECTIONS);
    let slow = Reach { threshold: 200, rate: 100 };
    let mut delivery = world.delivery();
    delivery.deadline = world.clock.now().plus(Duration::from_secs(20));
    let messages = [created(CHANNEL, 1, "hi")];
    assert_eq!(delivery.deliver(&key(CHANNEL), &messages, slow).await.unwrap().requeued, 30 * SHARD_CONNECTIONS);
    assert_eq!(world.dispatched.lock().unwrap().len(), 30);
    assert!(world.clock.now() < delivery.deadline);
}

#[tokio::test]
async fn a_failed_dispatch_is_repeated_and_then_fails_the_delivery() {
    for (failing, arrives) in [(DISPATCH_ATTEMPTS - 1, true), (2 * DISPATCH_ATTEMPTS, false)] {
        let world = World::new(1, SHARD_CONNECTIONS + 1);
        *world.failing_dispatches.lock().unwrap() = failing;
        let messages = [created(CHANNEL, 1, "hi")];
        let delivered = world.delivery().deliver(&key(CHANNEL), &messages, reach(200)).await;
        assert_eq!(delivered.is_ok(), arrives);
        if arrives {
            world.finish().await;
            assert!((0..=SHARD_CONNECTIONS).all(|number| world.received(number) == [1]));
        }
    }
}

#[tokio::test]
async fn subscriptions_that_were_written_before_and_after_a_growth_receive() {
    let world = World::new(1, 20);
    world.deliver(1..=1, 0).await;
    assert!(world.store.state().parts[&key(CHANNEL)] > Parts::ONE);
    (20..40).for_each(|number| world.subscribe(number, "bob", world.clock.now(), true));
    assert!(!world.store.state().placed.is_empty(), "some are in new parts");
    world.finish().await;
    for threshold in [0, 200] {
        world.deliver(2..=2, threshold).await;
        world.finish().await;
    }
    assert!((0..40).all(|number| world.received(number).ends_with(&[2, 2])));
}
