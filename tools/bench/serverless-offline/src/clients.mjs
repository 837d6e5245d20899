// Created once per environment, outside the handlers, so that their connections are reused.
import { ApiGatewayManagementApiClient } from '@aws-sdk/client-apigatewaymanagementapi';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';

const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };

export const tables = {
  channels: process.env.CHANNELS_TABLE,
  messages: process.env.MESSAGES_TABLE,
  bareMessages: process.env.BARE_MESSAGES_TABLE,
  connections: process.env.CONNECTIONS_TABLE,
};

export const dynamodb = DynamoDBDocumentClient.from(
  new DynamoDBClient({ region: 'us-east-1', endpoint: process.env.DYNAMODB_URL, credentials }),
  { marshallOptions: { removeUndefinedValues: true } },
);

export const management = new ApiGatewayManagementApiClient({
  region: 'us-east-1',
  endpoint: process.env.MANAGEMENT_URL,
  credentials,
});
