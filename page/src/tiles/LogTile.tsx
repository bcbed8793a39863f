// What the beamline should notice: runs, parameters that somebody set, losses and errors.

import { useEffect } from "react";

import { useLive } from "../live";
import type { Notice } from "../server";
import type { TileProps } from "./tile";

/** So many are listed: all of them are in the table. */
const LISTED = 200;

export function LogTile({ describe }: TileProps) {
  const notices = useLive((live) => live.notices);
  useEffect(() => describe({ title: "Notifications", table: () => columnsOf(notices) }), [notices, describe]);
  return <Notices />;
}

export function Notices() {
  const notices = useLive((live) => live.notices);
  if (notices.length === 0) {
    return <p className="empty">Nothing happened yet: runs, parameters that are set, losses and errors are told here.</p>;
  }
  return (
    <ol className="notices" data-testid="notices" tabIndex={0} aria-label="notifications, the latest first">
      {notices
        .slice(-LISTED)
        .reverse()
        .map(({ number, time, kind, text }) => (
          <li key={number} className={isBad(kind) ? "bad" : ""}>
            <time dateTime={new Date(1000 * time).toISOString()}>{new Date(1000 * time).toLocaleTimeString("en-GB")}</time>
            <b>{kind}</b>
            <span>{text}</span>
          </li>
        ))}
    </ol>
  );
}

export function isBad(kind: Notice["kind"]): boolean {
  return kind === "loss" || kind === "warning" || kind === "error" || kind === "run incomplete";
}

function columnsOf(notices: Notice[]): Record<string, ArrayLike<unknown>> {
  return {
    time: notices.map(({ time }) => new Date(1000 * time).toISOString()),
    kind: notices.map(({ kind }) => kind),
    text: notices.map(({ text }) => text),
    who: notices.map(({ who }) => who ?? ""),
    run: notices.map(({ run }) => run ?? ""),
  };
}
