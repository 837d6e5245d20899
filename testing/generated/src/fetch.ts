// The function that orval's functions call. It adds the address and the token of the current user.

import { rest } from "./deployment.js";

let token = "";

/** Sends all further requests with this token. */
export function as(user: string): void {
  token = user;
}

/** Sends a request, and returns the status, the headers and the decoded body, which orval's types describe. */
export async function request<T>(path: string, options: RequestInit = {}): Promise<T> {
  const headers = new Headers(options.headers);
  headers.set("authorization", `Bearer ${token}`);
  const response = await fetch(`${rest}${path}`, { ...options, headers });
  const body = await response.text();
  return { status: response.status, headers: response.headers, data: body ? JSON.parse(body) : undefined } as T;
}
