// What else there is to know: the stages, the latest lines of the log, and the switches of live mode.

import { useEffect, useState } from "react";

import { lasting } from "./Header";
import { Absent, change, get, Refused, setToken, setUserName, userName, type LiveStream, type LogLine, type Status } from "./server";

/** What to say when something was not done; empty when it was. */
async function reasonIfAny(done: Promise<Response>): Promise<string> {
  try {
    await done;
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

export function Stages({ status }: { status: Status }) {
  const [reason, setReason] = useState("");
  const stop = async (): Promise<void> => {
    if (confirm("Close the open runs as incomplete? Do so only when the scan was cut off.")) {
      setReason(await reasonIfAny(change("POST", "/api/v1/stop", "", "text/plain")));
    }
  };
  return (
    <details open>
      <summary>Stages</summary>
      <table>
        <thead>
          <tr>
            <th>stage, stream</th>
            <th>events</th>
            <th>lost</th>
            <th>failed</th>
          </tr>
        </thead>
        <tbody>
          {status.stages.map(({ name, streams, lag }) => (
            <Rows key={name} name={lag ? `${name} (${lasting(lag)} behind)` : name} streams={streams} />
          ))}
        </tbody>
      </table>
      {status.sources.map(({ name, counts }) => (
        <p key={name}>
          {name}:{" "}
          {Object.entries(counts)
            .map(([what, count]) => `${count} ${what.replaceAll("_", " ")}`)
            .join(", ")}
        </p>
      ))}
      {status.state === "RUNNING" && <button onClick={() => void stop()}>Close open runs</button>}
      {reason && <p className="bad">{reason}</p>}
      <p className="versions">
        bluesky-ext {status.deployedVersions.bluesky_ext} {status.deployedVersions.revision?.slice(0, 12)}
      </p>
    </details>
  );
}

function Rows({ name, streams }: Pick<Status["stages"][number], "name" | "streams">) {
  return (
    <>
      <tr>
        <th colSpan={4}>{name}</th>
      </tr>
      {Object.entries(streams).map(([stream, { received, lost, failed, skipped }]) => (
        <tr key={stream}>
          <td>{stream}</td>
          <td>{skipped ? `${received} (${skipped} skipped)` : received}</td>
          <td className={lost ? "bad" : ""}>{lost}</td>
          <td className={failed ? "bad" : ""}>{failed}</td>
        </tr>
      ))}
    </>
  );
}

/** The switches of live mode; `streams` may be missing where a server has none. */
export function LiveMode({ streams = [] }: { streams?: LiveStream[] }) {
  const [reason, setReason] = useState("");
  if (streams.length === 0) {
    return null;
  }
  const turn = async (stream: string, isOn: boolean): Promise<void> => {
    setReason(
      await reasonIfAny(
        change("PUT", `/api/v1/live/${encodeURIComponent(stream)}`, JSON.stringify(isOn), "application/json"),
      ),
    );
  };
  return (
    <details open>
      <summary>Live mode</summary>
      {streams.map(({ stream, on, running, received, skipped }) => (
        <label key={stream} className="switch">
          <input
            type="checkbox"
            role="switch"
            checked={on}
            onChange={({ target }) => void turn(stream, target.checked)}
          />
          {stream}
          <small>{running ? ` ${received} frames, ${skipped} skipped` : " no live run"}</small>
        </label>
      ))}
      {reason && <p className="bad">{reason}</p>}
    </details>
  );
}

/** The latest lines of the log, which are read while they are shown. */
export function Log({ errors }: { errors: LogLine[] }) {
  const [isOpen, setIsOpen] = useState(false);
  const [lines, setLines] = useState<LogLine[]>([]);
  useEffect(() => {
    if (!isOpen) {
      return undefined;
    }
    const read = async (): Promise<void> => {
      try {
        setLines((await get<LogLine[]>("/api/v1/log")).slice(-100).reverse());
      } catch (error) {
        if (!(error instanceof Absent || error instanceof Refused)) {
          throw error;
        }
      }
    };
    void read();
    const timer = setInterval(() => void read(), 2000);
    return () => clearInterval(timer);
  }, [isOpen]);
  const latest = errors.at(-1);
  return (
    <details onToggle={({ currentTarget }) => setIsOpen(currentTarget.open)}>
      <summary>Log {!isOpen && latest && <span className="bad latest">{latest.message}</span>}</summary>
      <ol className="log">
        {lines.map(({ number, time, level, message }) => (
          <li key={number} className={level === "INFO" ? "" : "bad"}>
            <time>{new Date(1000 * time).toLocaleTimeString("en-GB")}</time> {message}
          </li>
        ))}
      </ol>
    </details>
  );
}

/** Where the token is given, with which something can be changed from other machines. */
export function Access() {
  const [isGiven, setIsGiven] = useState(false);
  return (
    <details>
      <summary>Access</summary>
      <form
        className="field"
        onSubmit={(event) => {
          event.preventDefault();
          const given = new FormData(event.currentTarget);
          setToken(String(given.get("token") ?? ""));
          setUserName(String(given.get("user") ?? ""));
          setIsGiven(true);
        }}
      >
        <label>
          <span className="name">token</span>
          <input type="password" name="token" autoComplete="off" />
        </label>
        <label>
          <span className="name">your name</span>
          <input type="text" name="user" defaultValue={userName()} maxLength={50} autoComplete="off" />
        </label>
        <button type="submit">Use</button>
        {isGiven && <span className="good">until this window is closed</span>}
        <small className="about">
          changes take the token, where the server was started with one; your name is told with them
        </small>
      </form>
      <a href="/api">API</a>
    </details>
  );
}
