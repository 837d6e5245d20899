// `$connect`: stores the connection and its channels.
import { BatchGetCommand, PutCommand } from '@aws-sdk/lib-dynamodb';
import { caller } from './auth.mjs';
import { memberKey, metaKey } from './channels.mjs';
import { dynamodb, tables } from './clients.mjs';
import { Refusal } from './http.mjs';

const CONNECTION_SECONDS = 2 * 60 * 60;
const CHANNELS = 100;

const mayListen = async (channels, user) => {
  const Keys = channels.flatMap((channel) => [metaKey(channel), memberKey(channel, user)]);
  const found = [];
  // A request reads at most 100 items.
  for (let first = 0; first < Keys.length; first += 100) {
    const part = { Keys: Keys.slice(first, first + 100), ConsistentRead: true };
    const { Responses } = await dynamodb.send(new BatchGetCommand({ RequestItems: { [tables.channels]: part } }));
    found.push(...Responses[tables.channels]);
  }
  return channels.every((channel) => {
    const its = found.filter((item) => item.channel_id === channel);
    const meta = its.find(({ sk }) => sk === 'meta');
    return meta?.visibility === 'public' || (meta && its.length === 2);
  });
};

export const handler = async (event) => {
  const channels = [...new Set(event.queryStringParameters?.channels?.split(',') ?? [])].filter(Boolean);
  if (channels.length === 0 || channels.length > CHANNELS) return { statusCode: 400 };
  const connection = event.requestContext.connectionId;
  try {
    const { user, tokenExpiresAt } = await caller(event.headers);
    if (!(await mayListen(channels, user))) return { statusCode: 403 };
    const expires_at = Math.min(Math.floor(Date.now() / 1_000) + CONNECTION_SECONDS, tokenExpiresAt);
    const put = (Item) => dynamodb.send(new PutCommand({ TableName: tables.connections, Item }));
    await put({ pk: `conn#${connection}`, sk: 'meta', user_id: user, channels, expires_at });
    await Promise.all(
      channels.map((channel) => put({ pk: `chan#${channel}`, sk: `conn#${connection}`, user_id: user, expires_at })),
    );
    return { statusCode: 200 };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { statusCode: error.status };
  }
};
