// `$connect`: remembers who listens to a channel.
import { PutCommand } from '@aws-sdk/lib-dynamodb';
import { dynamodb, tables } from './clients.mjs';

export const handler = async (event) => {
  const channel = event.queryStringParameters?.channels;
  if (!channel) return { statusCode: 400 };
  const connection = event.requestContext.connectionId;
  const keys = [
    { pk: `chan#${channel}`, sk: `conn#${connection}` },
    { pk: `conn#${connection}`, sk: 'meta', channel },
  ];
  await Promise.all(keys.map((Item) => dynamodb.send(new PutCommand({ TableName: tables.connections, Item }))));
  return { statusCode: 200 };
};
