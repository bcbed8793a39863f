// Hears the server for all windows of a browser: each window that listened by itself would take one of the six
// connections that a browser makes to a server.

import { listen, type News } from "./events";

const ports: MessagePort[] = [];
/** The latest of each kind, for windows that open later. */
const latest = new Map<string, News>();

addEventListener("connect", (event) => {
  const [port] = (event as MessageEvent).ports;
  if (port) {
    ports.push(port);
    for (const kind of ["gone", "status", "revision"]) {
      const news = latest.get(kind);
      if (news) {
        port.postMessage(news);
      }
    }
  }
});
listen((news) => {
  if (news.kind === "status") {
    latest.delete("gone");
  }
  latest.set(news.kind, news);
  for (const port of ports) {
    port.postMessage(news);
  }
});
