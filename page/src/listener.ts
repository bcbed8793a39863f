// Hears the changes of the status for all windows of a browser: each window that listened by itself would take one of
// the six connections that a browser makes to a server.

import type { Heard } from "./follow";

const ports: MessagePort[] = [];
let latest: Heard = { isThere: false };

function tell(heard: Heard): void {
  latest = heard;
  for (const port of ports) {
    port.postMessage(heard);
  }
}

function listen(): void {
  const source = new EventSource("/api/v1/changes");
  source.addEventListener("status", ({ data }: MessageEvent<string>) => {
    tell({ isThere: true, status: JSON.parse(data), time: Date.now() });
  });
  source.addEventListener("error", () => {
    tell({ isThere: false });
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(listen, 1000); // it was refused: else it connects again by itself
    }
  });
}

addEventListener("connect", (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port) {
    ports.push(port);
    port.postMessage(latest);
  }
});
listen();
