//! Tests that two tenants in the same tables are isolated.

use chat::{
    model::{id::TenantId, token_bucket::Bucket},
    ports::{
        expiry_store::ExpiryStore,
        rate_limiter::{LimitedAction, RateLimiter},
    },
};

use super::*;

#[tokio::test]
async fn the_same_ids_name_different_things_in_each_tenant() {
    let tables = Tables::new().await;
    let tenants: [Option<TenantId>; 3] = [None, Some("acme".parse().unwrap()), Some("globex".parse().unwrap())];
    for (number, tenant) in tenants.iter().enumerate() {
        let (channels, messages) =
            (tables.channels().for_tenant(tenant.as_ref()), tables.messages().for_tenant(tenant.as_ref()));
        let connections = tables.connections().for_tenant(tenant.as_ref());
        let channel = Channel { name: format!("of {tenant:?}"), ..sample("c", Visibility::Public) };
        assert_eq!(
            channels.create(&channel, &member("c", "alice", MemberRole::Owner), None, MANY).await.unwrap(),
            ChannelCreated::Done
        );
        assert_eq!(channels.channel(&channel.channel_id).await.unwrap(), Some(channel.clone()));
        assert_eq!(channels.members(&channel.key(), None, 9).await.unwrap().members.len(), 1);
        assert_eq!(channels.memberships(&user("alice"), 9).await.unwrap().channels, [key("c")]);
        let listed = channels.public_channels("", None, 9).await.unwrap().channels;
        assert_eq!(listed, std::slice::from_ref(&channel));

        let message = stored("c", 1);
        let (head, record) = (head("c", 0, Visibility::Public), record(&message, "k"));
        let attempt = Append { record: Some(&record), ..unkeyed(&head, &message) };
        assert_eq!(messages.append(attempt).await.unwrap(), AppendResult::Stored, "{tenant:?}");
        let found = messages.messages(&head.key(), Range::Newest, 9, NOW).await.unwrap();
        assert_eq!(found, [message.message]);
        let kept = messages.idempotency_record(&head.key(), &record.key).await.unwrap();
        assert_eq!(kept, Some(record));
        let previews = messages.previews(&[(head.key(), Seq::FIRST)], NOW).await.unwrap();
        assert_eq!(previews.into_iter().map(|(channel, _)| channel).collect::<Vec<_>>(), [head.key()]);
        assert_eq!(messages.outlines(&head.key(), Seq::ZERO, Seq::new(2), 9, NOW).await.unwrap().len(), 1);
        let marks = channels.read_marks(&[(channel.key(), user("alice"))]).await.unwrap();
        assert_eq!(marks.into_values().collect::<Vec<_>>(), [Seq::ZERO]);

        let opened = connection(&format!("x{number}="), 1, NOW);
        connections.register_pending(&opened).await.unwrap();
        connections.activate(&opened, &BTreeSet::new()).await.unwrap();
        assert_eq!(connections.audience(&opened.channels[0], NOW).await.unwrap().subscriptions.len(), 1);
        assert_eq!(connections.connections_of(&user("alice"), NOW).await.unwrap().len(), 1);

        let bucket = Bucket { every: std::time::Duration::from_secs(9), burst: 1 };
        assert!(channels.take(&user("alice"), &LimitedAction::Send, bucket, NOW).await.unwrap().is_ok());
    }
    let (acme, globex) =
        (&tables.connections().for_tenant(tenants[1].as_ref()), tables.connections().for_tenant(tenants[2].as_ref()));
    let id: ConnectionId = "x1=".parse().unwrap();
    assert!(acme.connection(&id).await.unwrap().is_some());
    assert_eq!(globex.connection(&id).await.unwrap(), None);
    assert!(!globex.close(&ConnectionKey { id: id.clone(), connected_at: NOW }).await.unwrap());
    let (tenant, found) = tables.connections().find(&id).await.unwrap().unwrap();
    assert_eq!(tenant, tenants[1]);
    assert!(tables.connections().for_tenant(tenant.as_ref()).close(&found.key).await.unwrap());
    assert_eq!(acme.connection(&id).await.unwrap(), None);
}
