// What the page shows, always on it: the run, the point, the parameters and the version; and who may change something.

import { useChosen } from "./chosen";
import { useLive } from "./live";
import { hasToken } from "./server";

export function Footer() {
  const { status, latest, run } = useLive();
  const { of, point } = useChosen();
  if (!status) {
    return null;
  }
  const { deployedVersions, access } = status;
  const { bluesky_ext, revision } = deployedVersions;
  const isReadOnly = access?.token === true && !hasToken();
  const hash = status.run.parameters_hash;
  return (
    <footer className="footer" data-testid="footer">
      <span>
        run <code>{of ?? run ?? "none"}</code>
        {of !== null && <b className="past"> an earlier scan</b>}
      </span>
      <span>point {point === "latest" ? `${latest ?? "–"} (latest)` : point}</span>
      {hash && (
        <span title={hash}>
          parameters <code>{hash.slice(0, 10)}</code>
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
