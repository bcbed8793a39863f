// What the server tells by itself: its status, that something changed, and what the beamline should notice.

import type { Notice, Status } from "./server";

/** What was heard of the server, or that it is not there. */
export type News =
  | { kind: "gone" }
  | { kind: "status"; status: Status; time: number }
  | { kind: "revision"; revision: number; run: string | null; latest: number | null }
  | { kind: "parameter"; name: string; stage: string; who?: string | null }
  | { kind: "layout"; name: string; revision: number }
  | { kind: "notification"; notice: Notice };

/** Milliseconds after which a server that refused is asked again. */
const PAUSE = 1000;

/** Hear the server, for as long as the page is there. */
export function listen(tell: (news: News) => void): void {
  const source = new EventSource("/api/v1/changes");
  const on = (name: string, newsOf: (said: never) => News): void =>
    source.addEventListener(name, ({ data }: MessageEvent<string>) => tell(newsOf(JSON.parse(data) as never)));
  on("status", (status: Status) => ({ kind: "status", status, time: Date.now() }));
  on("revision", (said: object) => ({ ...said, kind: "revision" }) as News);
  on("parameter", (said: object) => ({ ...said, kind: "parameter" }) as News);
  on("layout", (said: object) => ({ ...said, kind: "layout" }) as News);
  on("notification", (notice: Notice) => ({ kind: "notification", notice }));
  source.addEventListener("error", () => {
    tell({ kind: "gone" });
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => listen(tell), PAUSE); // it was refused: else it connects again by itself
    }
  });
}
