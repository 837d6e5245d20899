"""A conversation with the client that openapi-python-client generated."""

import os
import uuid

from switchboard_client import AuthenticatedClient
from switchboard_client.api.channels import create_channel, get_channel, list_channels
from switchboard_client.api.members import add_member
from switchboard_client.api.messages import add_reaction, list_messages, send_message, update_message
from switchboard_client.api.operation import get_me
from switchboard_client.api.presence import mark_read
from switchboard_client.models import (
    AgentMode,
    MemberRole,
    MessagePatch,
    Metadata,
    NewAgent,
    NewChannel,
    NewMember,
    NewMessage,
    NewReadMark,
    Problem,
    ProblemCode,
    Visibility,
)


def client(token: str) -> AuthenticatedClient:
    return AuthenticatedClient(base_url=os.environ["REST"], token=token)


alice, bob = (client(token) for token in os.environ["TOKENS"].split(","))
me = get_me.sync(client=bob)
channel = f"generated-{uuid.uuid4()}"
new = NewChannel(channel_id=channel, name="Generated", visibility=Visibility.PRIVATE, agent=NewAgent(mode=AgentMode.OFF))
created = create_channel.sync(client=alice, body=new)
assert created.membership.role == MemberRole.OWNER, created
assert add_member.sync(channel, me.user_id, client=alice, body=NewMember(role=MemberRole.MEMBER)).user_id == me.user_id

metadata = Metadata.from_dict({"client_key": "5c1f", "nested": {"list": [1, 2]}})
sent = send_message.sync(channel, client=alice, body=NewMessage(content="hi", metadata=metadata))
assert (sent.seq, sent.version, sent.metadata["nested"]) == (1, 1, {"list": [1, 2]}), sent
assert add_reaction.sync_detailed(channel, 1, "👍", client=bob).status_code == 204
refused = update_message.sync(channel, 1, client=alice, body=MessagePatch(content="hi all"), if_match='"1"')
assert isinstance(refused, Problem) and refused.code == ProblemCode.VERSION_MISMATCH, refused
edited = update_message.sync(channel, 1, client=alice, body=MessagePatch(content="hi all"), if_match='"2"')
assert (edited.content, edited.version) == ("hi all", 3), edited

page = list_messages.sync(channel, client=bob)
assert [(one.content, one.reactions[0].reacted) for one in page.messages] == [("hi all", True)], page
mine = [one for one in list_channels.sync(client=bob).channels if one.channel_id == channel]
assert [one.membership.unread_count for one in mine] == [1], mine
assert mark_read.sync(channel, client=bob, body=NewReadMark(seq=1)).read_seq == 1
unknown = get_channel.sync("no-such-channel", client=bob)
assert isinstance(unknown, Problem) and unknown.code == ProblemCode.CHANNEL_NOT_FOUND, unknown
print("the conversation ended")
