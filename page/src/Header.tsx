// How the scan goes: its state, how far it is, how fresh the data are, and whether anything was lost.

import { useEffect, useState, type ReactNode } from "react";

import type { Status } from "./server";

const STATES = { ON: "waiting for a scan", RUNNING: "running", CLOSE: "scan ended" };

/** The time now, in ms, once or twice a second. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, []);
  return now;
}

export interface HeaderProps {
  status: Status | undefined;
  isThere: boolean;
  /** Milliseconds since the status was that. */
  since: number;
  children?: ReactNode;
}

export function Header({ status, isThere, since, children }: HeaderProps) {
  return (
    <header className="header">
      {status ? <Scan status={status} isThere={isThere} since={since} /> : <span className="scan">{isThere ? "…" : <Gone />}</span>}
      <nav className="views" aria-label="the page">
        {children}
      </nav>
    </header>
  );
}

function Scan({ status, isThere, since }: HeaderProps & { status: Status }) {
  const [seen, setSeen] = useState(0);
  const { state, run, progress } = status;
  const age = progress.age === null ? null : progress.age + since / 1000;
  const isLive = run.purpose === "live";
  const warnings = status.errors.filter(({ time }) => time > seen);
  return (
    <>
      <h1 className={`state ${isThere ? state : "gone"}`} data-testid="state">
        {isThere ? STATES[state] : <Gone />}
      </h1>
      <div className="scan" data-testid="scan">
        <strong>
          {run.uid ? `${isLive ? "live" : "scan"} ${run.scan_id ?? ""} ${run.plan_name ?? ""}` : "no scan yet"}
        </strong>
        {run.exit_status && <span className={run.exit_status === "success" ? "good" : "bad"}> {run.exit_status}</span>}
        <Bar progress={progress} isRunning={state === "RUNNING"} />
      </div>
      <div className="figures">
        <Figure name="events/s" value={state === "RUNNING" ? progress.rate.toFixed(1) : "–"} />
        <Figure name="behind" value={String(progress.lag)} title="events that came and are not analysed yet" />
        <Figure
          name="age of the data"
          label="age"
          value={age === null ? "–" : lasting(age)}
          title="age of the data: since the last document came"
        />
        {isLive && (
          <Figure name="skipped" value={String(progress.skipped ?? 0)} title="frames that were overtaken" />
        )}
        <Figure name="lost" value={String(progress.lost)} isBad={progress.lost > 0} title="events that never came" />
        <Figure
          name="failed"
          value={String(progress.failed)}
          isBad={progress.failed > 0}
          title="events that could not be analysed"
        />
        <Figure
          name="warnings"
          value={warnings.length < 10 ? String(warnings.length) : "10+"} // the server tells the last ten
          isBad={warnings.length > 0}
          title="lines of the log that warn: click here when you have seen them"
          onClick={() => setSeen(warnings.at(-1)?.time ?? seen)}
        />
      </div>
    </>
  );
}

function Gone() {
  return <span role="alert">the server is not there</span>;
}

function Bar({ progress, isRunning }: { progress: Status["progress"]; isRunning: boolean }) {
  const { completedEvents: completed, totalEvents: total, remaining } = progress;
  return (
    <>
      <span className="count" data-testid="count">
        {total ? `${completed} of ${total} events` : `${completed} events`}
        {isRunning && remaining != null && ` · ${lasting(remaining)} left`}
      </span>
      {total && <progress aria-label="events that are analysed" max={total} value={completed} />}
    </>
  );
}

interface FigureProps {
  name: string;
  /** What is written below the value, instead of the name. */
  label?: string;
  value: string;
  isBad?: boolean;
  title?: string;
  onClick?: () => void;
}

function Figure({ name, label = name, value, isBad = false, title, onClick }: FigureProps) {
  const Kind = onClick ? "button" : "div";
  return (
    <Kind className={isBad ? "figure bad" : "figure"} title={title} data-testid={name} onClick={onClick}>
      <b>{value}</b>
      <small>{label}</small>
    </Kind>
  );
}

/** A time in seconds, as people say it. */
export function lasting(seconds: number): string {
  if (seconds < 10) {
    return `${Math.max(0, seconds).toFixed(1)} s`;
  }
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  if (hours >= 48) {
    return `${Math.floor(hours / 24)} days`;
  }
  return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min` : `${Math.floor(seconds)} s`;
}
