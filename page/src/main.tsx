import "@h5web/app/styles.css";
import "./theme.css";
import "./page.css";
import "./tiles.css";
import "./point.css";

import { createRoot } from "react-dom/client";

import { follow } from "./live";
import { Page } from "./Page";

const element = document.getElementById("page");
if (element) {
  follow();
  createRoot(element).render(<Page />);
}
