import { render } from "preact";
import { App } from "./pages/App";
import { type Recorded, TracePage } from "./pages/TracePage";

const data = document.getElementById("solves");
const app = document.getElementById("app")!;
if (data) render(<TracePage solves={JSON.parse(data.textContent ?? "[]") as Recorded[]} />, app);
else render(<App />, app);
