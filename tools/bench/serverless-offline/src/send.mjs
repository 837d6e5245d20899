// `POST /channels/{channel_id}/messages`: numbers and stores the message in one transaction, then pushes it to all
// listeners.
import { BatchGetCommand, GetCommand, TransactWriteCommand } from '@aws-sdk/lib-dynamodb';
import { setTimeout } from 'node:timers/promises';
import { ulid } from 'ulid';
import { createHash } from 'node:crypto';
import { caller } from './auth.mjs';
import { memberKey, metaKey } from './channels.mjs';
import { dynamodb, tables } from './clients.mjs';
import { Refusal, answer, fields, rest } from './http.mjs';
import { push } from './push.mjs';

const CONTENT_BYTES = 32_768;
const METADATA_BYTES = 4_096;
const ATTEMPTS = 200;
const PATIENCE_MS = 7_000;
const KEY_SECONDS = 24 * 60 * 60;
const every = 1_000 / Number(process.env.SEND_RATE);
const burst = Number(process.env.SEND_BURST);

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

const SHAPE = {
  content: (content) =>
    (typeof content !== 'string' || content === '' || Buffer.byteLength(content) > CONTENT_BYTES) &&
    `must be a text of 1 to ${CONTENT_BYTES} bytes`,
  content_type: (type) =>
    type !== undefined && !['text/plain', 'text/markdown'].includes(type) && 'must be "text/plain" or "text/markdown"',
  metadata: (metadata) =>
    metadata !== undefined &&
    (!isObject(metadata) || Buffer.byteLength(JSON.stringify(metadata)) > METADATA_BYTES) &&
    `must be an object of at most ${METADATA_BYTES} bytes`,
  reply_to: (seq) => seq !== undefined && !(Number.isSafeInteger(seq) && seq > 0) && 'must be the seq of a message',
};

const bucketKey = (user) => ({ channel_id: `user#${user}`, sk: 'rate#send' });

// Reads the channel, the caller's membership, and the time when the caller's bucket is full again.
const look = async (channel, user) => {
  const Keys = [metaKey(channel), memberKey(channel, user), bucketKey(user)];
  const request = { RequestItems: { [tables.channels]: { Keys, ConsistentRead: true } } };
  const { Responses } = await dynamodb.send(new BatchGetCommand(request));
  const found = Responses[tables.channels];
  const of = (key) => found.find((item) => item.channel_id === key.channel_id && item.sk === key.sk);
  return { meta: of(Keys[0]), isMember: of(Keys[1]) !== undefined, fullAt: of(Keys[2])?.full_at };
};

const get = async (TableName, Key) =>
  (await dynamodb.send(new GetCommand({ TableName, Key, ConsistentRead: true }))).Item;

// Takes a token from the sender's bucket. Returns the time when the bucket is full again.
const take = (fullAt, now) => {
  const from = Math.max(fullAt ?? now, now);
  const wait = from - now - every * (burst - 1);
  if (wait > 0) throw new Refusal(429, 'too many messages; wait', { 'retry-after': String(Math.ceil(wait / 1_000)) });
  return from + every;
};

const append = async (message, { meta, fullAt }, nextFullAt, record) => {
  const { channel_id: channel, sender_id: user, seq } = message;
  const seconds = Math.floor(Date.now() / 1_000);
  const TransactItems = [
    {
      Update: {
        TableName: tables.channels,
        Key: metaKey(channel),
        UpdateExpression: 'SET last_seq = :next, last_message_at = :at',
        ConditionExpression: 'last_seq = :last AND visibility = :visibility AND attribute_not_exists(archived_at)',
        ExpressionAttributeValues: {
          ':next': seq,
          ':at': message.created_at,
          ':last': seq - 1,
          ':visibility': meta.visibility,
        },
      },
    },
    { Put: { TableName: tables.messages, Item: message, ConditionExpression: 'attribute_not_exists(seq)' } },
    {
      Update: {
        TableName: tables.channels,
        Key: bucketKey(user),
        UpdateExpression: 'SET full_at = :next, expires_at = :expires',
        ConditionExpression: fullAt === undefined ? 'attribute_not_exists(full_at)' : 'full_at = :full',
        ExpressionAttributeValues: {
          ':next': nextFullAt,
          ':expires': seconds + 3_600,
          ...(fullAt === undefined ? {} : { ':full': fullAt }),
        },
      },
    },
  ];
  if (meta.visibility === 'private') {
    const condition = { Key: memberKey(channel, user), ConditionExpression: 'attribute_exists(sk)' };
    TransactItems.push({ ConditionCheck: { TableName: tables.channels, ...condition } });
  }
  if (record) {
    TransactItems.push({
      Put: {
        TableName: tables.channels,
        Item: { ...record, seq, expires_at: seconds + KEY_SECONDS },
        ConditionExpression: 'attribute_not_exists(sk) OR expires_at < :now',
        ExpressionAttributeValues: { ':now': seconds },
      },
    });
  }
  await dynamodb.send(new TransactWriteCommand({ TransactItems }));
};

// Returns the result of an earlier request under the same key.
const replayed = async (record) => {
  const earlier = await get(tables.channels, { channel_id: record.channel_id, sk: record.sk });
  if (!earlier || earlier.expires_at * 1_000 < Date.now()) return undefined;
  if (earlier.fingerprint !== record.fingerprint) throw new Refusal(422, 'the key was used for another request');
  const message = await get(tables.messages, { channel_id: record.channel_id, seq: earlier.seq });
  return answer(200, message, { 'idempotency-replayed': 'true' });
};

export const handler = rest(async (event) => {
  const { user } = await caller(event.headers);
  const { content, content_type = 'text/plain', metadata, reply_to } = fields(event, SHAPE);
  const channel = event.pathParameters.channel_id;
  const key = event.headers['Idempotency-Key'] ?? event.headers['idempotency-key'];
  const fingerprint = key && createHash('sha256').update(event.body).digest('base64');
  const record = key && { channel_id: channel, sk: `idem#${user}#${key}`, fingerprint };
  const message_id = ulid();
  const started = Date.now();
  for (let attempt = 0; attempt < ATTEMPTS && Date.now() - started < PATIENCE_MS; attempt += 1) {
    const seen = await look(channel, user);
    const { meta } = seen;
    if (!meta || (meta.visibility === 'private' && !seen.isMember)) throw new Refusal(404, 'there is no such channel');
    if (meta.archived_at) throw new Refusal(409, 'the channel is archived');
    if (reply_to > meta.last_seq) throw new Refusal(400, 'reply_to: there is no such message');
    const now = Date.now();
    const message = {
      channel_id: channel,
      seq: meta.last_seq + 1,
      message_id,
      version: 1,
      sender_id: user,
      role: 'user',
      content,
      content_type,
      created_at: new Date(now).toISOString(),
      metadata,
      reply_to,
    };
    try {
      await append(message, seen, take(seen.fullAt, now), record);
    } catch (error) {
      if (error.name !== 'TransactionCanceledException') throw error;
      const earlier = record && (await replayed(record));
      if (earlier) return earlier;
      await setTimeout(Math.random() * 20);
      continue;
    }
    const created = { type: 'message.created', seq: message.seq, version: message.version, message };
    await push(channel, JSON.stringify({ type: 'events', channel_id: channel, events: [created] }));
    return answer(201, message, { location: `/channels/${channel}/messages/${message.seq}` });
  }
  throw new Refusal(503, 'too many send to this channel at once; try again', { 'retry-after': '1' });
});
