/** Puts the parts of the page together: three sockets, and what each of them feeds. */

import { Clock } from "./clock.js";
import { Connection } from "./connection.js";
import { byId, setIcon, setText } from "./dom.js";
import { Events } from "./events.js";
import { TIME_WIDTH } from "./format.js";
import { Feed } from "./feed.js";
import { Figures } from "./figures.js";
import { EventForm } from "./form.js";
import { Log } from "./log.js";
import { Model } from "./model.js";
import { Socket } from "./socket.js";
import { Tree } from "./tree.js";

const HEALTH = { ok: "Healthy", degraded: "Degraded", failing: "Failing", unknown: "Unknown" };

const debug = document.querySelector('meta[name="realtime-debug"]').content === "true";
const announce = (text) => setText(byId("announcer"), text);

const clock = new Clock();
const figures = new Figures();
const feed = new Feed();
const model = new Model();
const tree = new Tree(model, { debug });
const log = new Log();
const connection = new Connection(announce);

/** What all sockets share: the panel they feed says why it is not live, and one that is back calls the others. */
function follow(...panels) {
  return ({ state, words }) => {
    for (const panel of panels.map(byId)) {
      panel.dataset.live = String(state === "open");
      const why = panel.querySelector(".not-live");
      if (why !== null && state !== "open") setText(why, words);
    }
    connection.changed();
    if (state === "open") connection.hurry();
  };
}

/* The session: clock and live figures. A page is a session of its own. */

const sessionLive = follow("figures", "clock");
const session = new Socket(`ws/${sessionId()}`, {
  onState: (now) => {
    sessionLive(now);
    if (now.state === "open") session.send({ type: "subscribe", topic: "system" });
    else figures.lost();
  },
  onMessage: (message) => {
    if (message.type === "time_update") clock.update(message.data.date);
    else if (message.type === "snapshot" && message.topic === "system") figures.update(message.data);
    else if (message.topic === "system" && (message.type === "error" || message.type === "unsubscribed"))
      figures.notice(message.message);
  },
});

function sessionId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return `dashboard-${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/* The events. */

const events = new Events(feed, { onState: follow("events"), serverNow: () => clock.serverNow() });
new EventForm((event) => {
  // It comes over the socket, in its order; only without one it has to be put there from here.
  if (events.socket.now.state !== "open") feed.add(event);
});

/* The tree. */

const treeLive = follow("supervision");
const supervisors = new Socket("ws/supervisors", {
  onState: (now) => {
    treeLive(now);
    showHealth();
  },
  onMessage: (message, socket) => {
    if (message.type === "snapshot") tree.changed(model.read(message.data));
    else if (message.type === "supervisor_event") supervisorEvent(message.data);
    else if (message.type === "gap") {
      log.note("tree", `${message.missed} changes missed, read anew`, "warning");
      socket.restart();
      return;
    }
    showHealth();
  },
});

function supervisorEvent(data) {
  const above = data.path.includes("/") ? data.path.slice(0, data.path.lastIndexOf("/")) : "";
  log.add(data, data.path === "" ? undefined : model.get(above));
  tree.changed(model.apply(data));
}

/** The health of the whole, as long as somebody tells it. */
function showHealth() {
  const known = supervisors.now.state === "open" && model.root !== undefined;
  const health = known ? model.root.health : "unknown";
  const where =
    known && health !== "ok"
      ? model
          .culprits()
          .map((path) => path || "root")
          .join(", ")
      : "";
  const box = byId("health");
  if (box.dataset.health !== health && box.dataset.health !== "unknown" && known) {
    announce(health === "ok" ? "Everything is healthy again." : `${HEALTH[health]}: ${where}`);
  }
  box.dataset.health = health;
  setIcon(byId("health-icon"), health === "unknown" ? "wait" : health);
  setText(byId("health-words"), HEALTH[health]);
  setText(byId("health-where"), where);
  const lost = ["waiting", "closed"].includes(supervisors.now.state);
  document.title = lost
    ? "Disconnected – realtime"
    : known && health !== "ok"
      ? `${HEALTH[health]} – realtime`
      : "realtime";
}

document.documentElement.style.setProperty("--time-width", `${TIME_WIDTH}ch`);
byId("debug").hidden = !debug;
const sockets = { "Clock and figures": session, Events: events.socket, Supervision: supervisors };
for (const [name, socket] of Object.entries(sockets)) connection.add(name, socket);
for (const socket of Object.values(sockets)) socket.open();

setInterval(() => {
  clock.tick();
  figures.tick();
  if (supervisors.now.state === "open") tree.tick(); // nobody knows whether it still runs
}, 1000);

// A page put aside by the browser for "back" may not keep sockets; it comes back with them.
addEventListener("pagehide", () => Object.values(sockets).forEach((socket) => socket.leave()));
addEventListener(
  "pageshow",
  (event) => event.persisted && Object.values(sockets).forEach((socket) => socket.open()),
);
