// Pushes a frame to all listeners of a channel.
import { GoneException, PostToConnectionCommand } from '@aws-sdk/client-apigatewaymanagementapi';
import { DeleteCommand, paginateQuery } from '@aws-sdk/lib-dynamodb';
import { dynamodb, management, tables } from './clients.mjs';

const listeners = async (channel) => {
  const pages = paginateQuery(
    { client: dynamodb },
    {
      TableName: tables.connections,
      KeyConditionExpression: 'pk = :channel',
      ExpressionAttributeValues: { ':channel': `chan#${channel}` },
      ConsistentRead: true,
    },
  );
  const found = [];
  for await (const page of pages) found.push(...page.Items);
  return found.filter(({ expires_at }) => expires_at * 1_000 > Date.now());
};

const post = async ({ pk, sk }, frame) => {
  try {
    await management.send(new PostToConnectionCommand({ ConnectionId: sk.slice('conn#'.length), Data: frame }));
  } catch (error) {
    if (!(error instanceof GoneException)) throw error;
    await dynamodb.send(new DeleteCommand({ TableName: tables.connections, Key: { pk, sk } }));
  }
};

export const push = async (channel, frame) => {
  const results = await Promise.allSettled((await listeners(channel)).map((listener) => post(listener, frame)));
  for (const { reason } of results.filter(({ status }) => status === 'rejected')) console.error(reason);
};
