// `$disconnect`: deletes the connection and its subscriptions.
import { DeleteCommand, GetCommand } from '@aws-sdk/lib-dynamodb';
import { dynamodb, tables } from './clients.mjs';

export const handler = async (event) => {
  const connection = event.requestContext.connectionId;
  const meta = { TableName: tables.connections, Key: { pk: `conn#${connection}`, sk: 'meta' } };
  const { Item: found } = await dynamodb.send(new GetCommand({ ...meta, ConsistentRead: true }));
  const forget = (channel) => ({ pk: `chan#${channel}`, sk: `conn#${connection}` });
  await Promise.all(
    (found?.channels ?? []).map((channel) =>
      dynamodb.send(new DeleteCommand({ TableName: tables.connections, Key: forget(channel) })),
    ),
  );
  // Deleted last, so that an interrupted removal can be found again.
  await dynamodb.send(new DeleteCommand(meta));
  return { statusCode: 200 };
};
