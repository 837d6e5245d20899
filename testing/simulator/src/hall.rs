//! The hall: guests that come to a channel and go, and the worker that announces them.

use std::{sync::Arc, time::Duration};

use chat::{
    app::connect::{Asked, Connect},
    model::{channel::Channel, connection::ConnectionKey, id::ConnectionId},
    ports::connection_store::ConnectionStore,
};

use crate::{
    client::CONNECT_LIMITS,
    invocation::request,
    node::THRESHOLD,
    oracle::Caller,
    tables::Socket,
    world::{HALL, World, channel, user},
};

/// Number of guests. Each has one socket at a time.
const GUESTS: u64 = 6;
/// Maximum number of subscriptions with which guests are announced.
const MOST: usize = 3;

/// Starts the guests, and the worker.
pub(crate) fn start(world: &Arc<World>) {
    world.time.spawn(announce(Arc::clone(world)));
    for number in 0..GUESTS {
        world.time.spawn(visit(Arc::clone(world), number));
    }
}

/// Announces the users whose subscriptions were created or removed, without end. Repeats each batch until it succeeds.
async fn announce(world: Arc<World>) {
    let Some(key) = world.store.state().channels.get(&channel(HALL)).map(Channel::key) else { return };
    loop {
        world.subscribed.until(|| (!world.tables().guests.changed.is_empty()).then_some(())).await;
        let window = world.time.below(1_000);
        world.time.sleep(Duration::from_millis(window)).await;
        let users = std::mem::take(&mut world.tables().guests.changed);
        world.tell(|| format!("the batch of the hall: {users:?}"));
        loop {
            let (of_key, of_users) = (key.clone(), users.clone());
            let announced = request(&world, Caller::System, |mut node| async move {
                node.announces = Some(of_key.clone());
                node.delivery().announce_presence(&of_key, of_users, MOST, THRESHOLD + MOST).await.is_ok()
            });
            if announced.await.1 == Some(true) {
                break;
            }
            let pause = world.time.below(300);
            world.time.sleep(Duration::from_millis(pause)).await;
        }
    }
}

/// Opens and closes sockets of one guest. The last one stays open in half of the cases.
async fn visit(world: Arc<World>, number: u64) {
    let name = format!("guest{number}");
    let visits = 1 + world.time.below(3);
    for visit in 0..visits {
        let pause = world.time.below(2_500);
        world.time.sleep(Duration::from_millis(pause)).await;
        let Some(connection) = come(&world, &name, visit).await else { continue };
        if visit + 1 == visits && world.time.one_in(2) {
            return;
        }
        let stay = world.time.below(2_500);
        world.time.sleep(Duration::from_millis(stay)).await;
        go(&world, &connection).await;
    }
}

/// Opens a socket. Returns `None` if the handshake fails.
async fn come(world: &Arc<World>, name: &str, visit: u64) -> Option<ConnectionKey> {
    let id: ConnectionId = format!("{name}-{visit}=").parse().ok()?;
    let (connection_id, user_id) = (id.clone(), user(name));
    let connected = request(world, Caller::User(user(name)), |node| async move {
        let asked = Asked::of_request(Some(vec![channel(HALL)]));
        let token_expires_at = node.deadline(3_600);
        let asked = Connect { connection_id, user_id, token_expires_at, asked, allowed_channels: None };
        node.connector().connect(asked, CONNECT_LIMITS).await
    });
    connected.await.1?.ok()?;
    world.tell(|| format!("{id} is open"));
    let key = world.store.state().connections.get(&id)?.key.clone();
    let socket = Socket { user: user(name), open: true, throttled_until: 0, inbox: None };
    world.tables().sockets.insert(id, socket);
    Some(key)
}

/// Closes a socket, with its `$disconnect`.
async fn go(world: &Arc<World>, connection: &ConnectionKey) {
    if let Some(socket) = world.tables().sockets.get_mut(&connection.id) {
        socket.open = false;
    }
    world.tell(|| format!("{} is left", connection.id));
    loop {
        let of_key = connection.clone();
        let closed =
            request(
                world,
                Caller::System,
                |node| async move { ConnectionStore::close(&node.store, &of_key).await.is_ok() },
            );
        if closed.await.1 == Some(true) {
            return;
        }
        let pause = world.time.below(300);
        world.time.sleep(Duration::from_millis(pause)).await;
    }
}
