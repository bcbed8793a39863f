// The page: how the scan goes above, what it shows in the middle, what can be set beside it.

import { lazy, Suspense, useEffect, useState } from "react";

import { keepInAddress, useChosen } from "./chosen";
import { Footer } from "./Footer";
import { Header, useNow } from "./Header";
import { useLive } from "./live";
import { Navigation, type View } from "./Navigation";
import { Access, LiveMode, Log, Stages } from "./Panels";
import { isTyped, Parameters } from "./Parameters";
import type { Status } from "./server";

// What draws is the most of the page: the header does not wait for it.
const Tiles = lazy(async () => ({ default: (await import("./Tiles")).Tiles }));
const Viewer = lazy(async () => ({ default: (await import("./Viewer")).Viewer }));

const SETTINGS = "bluesky-ext settings";
/** Pixels of a window in which settings, where there are some, are shown until somebody closes them. */
const WIDE = 1450;

export function Page() {
  const [view, setView] = useState<View>(() => (new URLSearchParams(location.search).has("path") ? "browse" : "live"));
  const [kept, setKept] = useState(() => localStorage.getItem(SETTINGS));
  const { isThere, status, parameters } = useLive();
  const hasSettings = parameters.some(isTyped) || (status?.live ?? []).length > 0;
  const isPast = useChosen(({ of }) => of !== null);
  const isSet = kept === null ? innerWidth >= WIDE && hasSettings : kept === "true";
  const show = (view: View): void => {
    setView(view);
    if (view === "live") {
      keepInAddress({ path: null });
    }
  };
  const turnSettings = (): void => {
    localStorage.setItem(SETTINGS, String(!isSet));
    setKept(String(!isSet));
  };
  useEffect(() => {
    document.title = status ? titleOf(status) : "bluesky-ext";
  }, [status]);
  return (
    <>
      <LiveHeader>
        <Navigation view={view} onView={show} isSet={isSet} onSettings={turnSettings} />
      </LiveHeader>
      <main className={`main ${isThere ? "" : "gone"} ${isPast && view === "live" ? "past-scan" : ""}`}>
        <Suspense fallback={<p className="empty">Reading …</p>}>{view === "live" ? <Tiles /> : <Viewer />}</Suspense>
        {isSet && (
          <aside className="aside" aria-label="settings">
            <LiveMode streams={status?.live} />
            <Parameters />
            {status && <Stages status={status} />}
            <Log errors={status?.errors ?? []} />
            <Access />
          </aside>
        )}
      </main>
      <Footer />
    </>
  );
}

/** The header, which alone is drawn anew as time goes on. */
function LiveHeader({ children }: { children: React.ReactNode }) {
  const { isThere, status, time } = useLive();
  const now = useNow();
  return (
    <Header status={status} isThere={isThere} since={Math.max(0, now - time)}>
      {children}
    </Header>
  );
}

function titleOf({ state, run, progress }: Status): string {
  const part = progress.totalEvents ? `${Math.floor((100 * progress.completedEvents) / progress.totalEvents)} % ` : "";
  return `${state === "RUNNING" ? part : ""}scan ${run.scan_id ?? "–"} · bluesky-ext`;
}
