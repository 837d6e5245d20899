// Returns the caller: the `sub` of a token that is signed with the configured secret.
import { jwtVerify } from 'jose';
import { Refusal } from './http.mjs';

const secret = new TextEncoder().encode(process.env.JWT_HS256_SECRET);
const options = {
  algorithms: ['HS256'],
  issuer: process.env.JWT_ISSUER,
  audience: process.env.JWT_AUDIENCE,
  requiredClaims: ['sub', 'exp'],
  clockTolerance: 60,
};

export const caller = async (headers) => {
  const given = headers?.Authorization ?? headers?.authorization ?? '';
  const [scheme, token] = given.split(' ');
  if (scheme.toLowerCase() !== 'bearer' || !token) throw new Refusal(401, 'send a token: Authorization: Bearer …');
  try {
    const { payload } = await jwtVerify(token, secret, options);
    return { user: payload.sub, tokenExpiresAt: payload.exp };
  } catch {
    throw new Refusal(401, 'the token is not valid or has expired');
  }
};
