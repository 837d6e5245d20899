// A socket whose frames have the types that Modelina generated.

import WebSocket from "ws";

import type { ServerFrame } from "../generated/frames.js";
import { websocket } from "./deployment.js";

/** Time that a frame may take. A slow machine needs it; a fast one never waits. */
const PATIENCE_MS = 180_000;

/** Opens a socket by its ticket. */
export async function open(ticket: string): Promise<Socket> {
  const socket = new WebSocket(`${websocket}?ticket=${ticket}`);
  const opened = new Socket(socket);
  await new Promise<void>((resolve, reject) => socket.once("open", resolve).once("error", reject));
  return opened;
}

/** An open socket. It keeps the frames that nothing has waited for. */
export class Socket {
  #frames: ServerFrame[] = [];
  #arrived = (): void => undefined;

  constructor(private readonly socket: WebSocket) {
    socket.on("message", (text) => {
      this.#frames.push(JSON.parse(String(text)) as ServerFrame);
      this.#arrived();
    });
  }

  /** Returns the first frame, or event of a frame, for which `find` returns a value, and drops those before it. */
  async next<Found>(find: (frame: ServerFrame) => Found | undefined): Promise<Found> {
    const ends = Date.now() + PATIENCE_MS;
    for (;;) {
      for (let frame = this.#frames.shift(); frame; frame = this.#frames.shift()) {
        const found = find(frame);
        if (found !== undefined) return found;
      }
      if (Date.now() > ends) throw new Error("the frame did not come");
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 1_000);
        this.#arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  close(): void {
    this.socket.close();
  }
}
