// The page: how the scan goes above, what it shows in the middle, what can be set beside it.

import { useEffect } from "react";

import { Header, useNow } from "./Header";
import { useLive } from "./live";
import { Access, LiveMode, Log, Stages } from "./Panels";
import { Parameters } from "./Parameters";
import type { Status } from "./server";
import { Viewer } from "./Viewer";

export function Page() {
  const now = useNow();
  const { isThere, status, time } = useLive();
  useEffect(() => {
    document.title = status ? titleOf(status) : "bluesky-ext";
  }, [status]);
  return (
    <>
      <Header status={status} isThere={isThere} since={Math.max(0, now - time)} />
      <main className="main">
        <Viewer />
        <aside className="aside">
          <LiveMode streams={status?.live} />
          <Parameters />
          {status && <Stages status={status} />}
          <Log errors={status?.errors ?? []} />
          <Access />
        </aside>
      </main>
    </>
  );
}

function titleOf({ state, run, progress }: Status): string {
  const part = progress.totalEvents ? `${Math.floor((100 * progress.completedEvents) / progress.totalEvents)} % ` : "";
  return `${state === "RUNNING" ? part : ""}scan ${run.scan_id ?? "–"} · bluesky-ext`;
}
