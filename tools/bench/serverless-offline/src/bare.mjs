// `POST /bare/channels/{channel_id}/messages`: a minimal chat. It checks no token and numbers no messages: it stores
// the message and pushes it to all listeners.
import { PutCommand } from '@aws-sdk/lib-dynamodb';
import { randomUUID } from 'node:crypto';
import { dynamodb, tables } from './clients.mjs';
import { push } from './push.mjs';

export const handler = async (event) => {
  const { content } = JSON.parse(event.body ?? '{}');
  if (typeof content !== 'string' || content === '') return { statusCode: 400, body: '{"message":"content?"}' };
  const channel = event.pathParameters.channel_id;
  const created = new Date().toISOString();
  const message = { channel_id: channel, message_id: `${created}#${randomUUID()}`, content, created_at: created };
  await dynamodb.send(new PutCommand({ TableName: tables.bareMessages, Item: message }));
  await push(channel, JSON.stringify({ type: 'message.created', message }));
  return { statusCode: 201, body: JSON.stringify(message) };
};
