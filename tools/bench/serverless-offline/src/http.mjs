// Answers of the REST API.
import { STATUS_CODES } from 'node:http';

// A request that is answered with a problem of RFC 9457.
export class Refusal extends Error {
  constructor(status, detail, headers = {}, errors = undefined) {
    super(detail);
    Object.assign(this, { status, detail, headers, errors });
  }
}

export const answer = (statusCode, body, headers = {}) => ({
  statusCode,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

// Returns a handler that converts refusals to responses.
export const rest = (handle) => async (event) => {
  try {
    return await handle(event);
  } catch (error) {
    const isRefusal = error instanceof Refusal;
    if (!isRefusal) console.error(error);
    const { status, detail, headers, errors } = isRefusal ? error : new Refusal(500, 'it failed here; try again');
    const problem = { type: 'about:blank', title: STATUS_CODES[status], status, detail, errors };
    problem.instance = event.requestContext?.requestId;
    return answer(status, problem, { 'content-type': 'application/problem+json', ...headers });
  }
};

// The fields of a JSON body. `shape` has a check for each field that there may be.
export const fields = (event, shape) => {
  let body;
  try {
    body = JSON.parse(event.body);
  } catch {
    throw new Refusal(400, 'the body must be a JSON object');
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw new Refusal(400, 'the body must be a JSON object');
  }
  const errors = Object.keys(body)
    .filter((field) => !Object.hasOwn(shape, field))
    .map((field) => ({ field, code: 'unknown_field', message: 'is not known' }));
  for (const [field, check] of Object.entries(shape)) {
    const message = check(body[field]);
    if (message) errors.push({ field, code: 'malformed', message });
  }
  if (errors.length > 0) throw new Refusal(400, 'some fields are wrong', {}, errors);
  return body;
};
