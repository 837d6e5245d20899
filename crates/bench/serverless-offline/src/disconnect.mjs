// `$disconnect`: forgets who has gone.
import { DeleteCommand } from '@aws-sdk/lib-dynamodb';
import { dynamodb, tables } from './clients.mjs';

export const handler = async (event) => {
  const connection = event.requestContext.connectionId;
  const { Attributes: found } = await dynamodb.send(
    new DeleteCommand({
      TableName: tables.connections,
      Key: { pk: `conn#${connection}`, sk: 'meta' },
      ReturnValues: 'ALL_OLD',
    }),
  );
  if (found) {
    const key = { pk: `chan#${found.channel}`, sk: `conn#${connection}` };
    await dynamodb.send(new DeleteCommand({ TableName: tables.connections, Key: key }));
  }
  return { statusCode: 200 };
};
