// `POST /channels`: creates a channel that the caller owns. Also checks the access to a channel.
import { TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
import { ulid } from 'ulid';
import { caller } from './auth.mjs';
import { dynamodb, tables } from './clients.mjs';
import { Refusal, answer, fields, rest } from './http.mjs';

const ID = /^[A-Za-z0-9_.:-]{1,128}$/;

const SHAPE = {
  channel_id: (id) => id !== undefined && !ID.test(id) && 'must be an id',
  name: (name) => (typeof name !== 'string' || name === '' || [...name].length > 100) && 'must have 1 to 100 characters',
  visibility: (visibility) => !['public', 'private'].includes(visibility) && 'must be "public" or "private"',
  agent: (agent) => agent !== undefined && agent?.mode !== 'off' && 'there is none: {"mode": "off"}',
};

export const metaKey = (channel) => ({ channel_id: channel, sk: 'meta' });
export const memberKey = (channel, user) => ({ channel_id: channel, sk: `member#${user}` });

export const handler = rest(async (event) => {
  const { user } = await caller(event.headers);
  const { channel_id = ulid(), name, visibility } = fields(event, SHAPE);
  const created_at = new Date().toISOString();
  const channel = { channel_id, name, visibility, agent: { mode: 'off' }, last_seq: 0, created_by: user, created_at };
  const member = { ...memberKey(channel_id, user), role: 'owner', joined_at: created_at };
  const put = (Item) => ({
    Put: { TableName: tables.channels, Item, ConditionExpression: 'attribute_not_exists(sk)' },
  });
  try {
    const TransactItems = [put({ ...channel, ...metaKey(channel_id) }), put(member)];
    await dynamodb.send(new TransactWriteCommand({ TransactItems }));
  } catch (error) {
    if (error.name !== 'TransactionCanceledException') throw error;
    throw new Refusal(409, `there is a channel ${channel_id} already`);
  }
  return answer(201, channel, { location: `/channels/${channel_id}` });
});
