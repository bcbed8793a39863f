// What the page shows, always on it: the run, the point, the parameters and the version; and who may change something.

import { useChosen } from "./chosen";
import { useLive, useReadOnly } from "./live";

export function Footer() {
  const { status, latest, run } = useLive();
  const { of, point } = useChosen();
  const isReadOnly = useReadOnly();
  if (!status) {
    return null;
  }
  const { deployedVersions } = status;
  const { bluesky_ext, revision } = deployedVersions;
  const hashed = status.stages.filter(({ parameters_sha256 }) => parameters_sha256);
  return (
    <footer className="footer" data-testid="footer">
      <span>
        run <code>{of ?? run ?? "none"}</code>
        {of !== null && <b className="past"> an earlier scan</b>}
      </span>
      <span>point {point === "latest" ? `${latest ?? "–"} (latest)` : point}</span>
      {hashed.length > 0 && (
        <span className="parameters" title={hashed.map(({ name, parameters_sha256 }) => `${name}: ${parameters_sha256}`).join("\n")}>
          parameters{" "}
          {hashed.map(({ name, parameters_sha256 }) => (
            <code key={name}>
              {name} {parameters_sha256!.slice(0, 8)}{" "}
            </code>
          ))}
        </span>
      )}
      <span>
        bluesky-ext {bluesky_ext}
        {revision && <code> {revision.slice(0, 9)}</code>}
      </span>
      {isReadOnly && <b data-testid="read-only">read-only: give the token in Settings, Access</b>}
    </footer>
  );
}
