// Following the status of the server: it tells when something changes, and is asked when it is silent.

import { Absent, get, Refused, type Status } from "./server";

/** What was heard of the server: its status at a time (ms), or that it is not there. */
export type Heard = { isThere: true; status: Status; time: number } | { isThere: false };

/** Milliseconds of silence after which the server is asked. */
const SILENCE = 3000;

/** Call `hear` whenever there is news, until the function that is returned is called. */
export function follow(hear: (heard: Heard) => void): () => void {
  let last = 0;
  const note = (heard: Heard): void => {
    last = Date.now();
    hear(heard);
  };
  const ask = async (): Promise<void> => {
    try {
      note({ isThere: true, status: await get<Status>("/api/v1/status"), time: Date.now() });
    } catch (error) {
      if (!(error instanceof Absent || error instanceof Refused)) {
        throw error;
      }
      hear({ isThere: false });
    }
  };
  const port =
    "SharedWorker" in globalThis ? new SharedWorker("/page/listener.js", { type: "module" }).port : undefined;
  port?.addEventListener("message", ({ data }: MessageEvent<Heard>) => (data.isThere ? note(data) : void ask()));
  port?.start();
  const timer = setInterval(() => {
    if (document.visibilityState === "visible" && Date.now() - last > SILENCE) {
      void ask();
    }
  }, 1000);
  void ask();
  return () => {
    clearInterval(timer);
    port?.close();
  };
}
