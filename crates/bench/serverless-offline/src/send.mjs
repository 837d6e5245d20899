// `POST /channels/{channel_id}/messages`: writes the message, then pushes it to all who listen.
import { randomUUID } from 'node:crypto';
import { GoneException, PostToConnectionCommand } from '@aws-sdk/client-apigatewaymanagementapi';
import { DeleteCommand, PutCommand, paginateQuery } from '@aws-sdk/lib-dynamodb';
import { dynamodb, management, tables } from './clients.mjs';

const listeners = async (channel) => {
  const pages = paginateQuery(
    { client: dynamodb },
    {
      TableName: tables.connections,
      KeyConditionExpression: 'pk = :channel',
      ExpressionAttributeValues: { ':channel': `chan#${channel}` },
    },
  );
  const found = [];
  for await (const page of pages) found.push(...page.Items);
  return found;
};

const push = async ({ pk, sk }, frame) => {
  try {
    await management.send(new PostToConnectionCommand({ ConnectionId: sk.slice('conn#'.length), Data: frame }));
  } catch (error) {
    if (!(error instanceof GoneException)) throw error;
    await dynamodb.send(new DeleteCommand({ TableName: tables.connections, Key: { pk, sk } }));
  }
};

export const handler = async (event) => {
  const { content } = JSON.parse(event.body ?? '{}');
  if (typeof content !== 'string' || content === '') return { statusCode: 400, body: '{"message":"content?"}' };
  const channel = event.pathParameters.channel_id;
  const created = new Date().toISOString();
  const message = { channel_id: channel, message_id: `${created}#${randomUUID()}`, content, created_at: created };
  await dynamodb.send(new PutCommand({ TableName: tables.messages, Item: message }));
  const frame = JSON.stringify({ type: 'message.created', message });
  const results = await Promise.allSettled((await listeners(channel)).map((listener) => push(listener, frame)));
  for (const { reason } of results.filter(({ status }) => status === 'rejected')) console.error(reason);
  return { statusCode: 201, body: JSON.stringify(message) };
};
