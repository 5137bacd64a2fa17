// What the navigation shows, in its order.

import {
  Bell,
  Box,
  Clock,
  Connection,
  Cpu,
  DataLine,
  Files,
  Guide,
  Key,
  Lock,
  Odometer,
  Operation,
  Search,
  Share,
  Switch,
  Tickets,
  User,
} from "@element-plus/icons-vue";
import type { Component } from "vue";

export interface Entry {
  /** A key of the texts. */
  text: string;
  to: string;
  icon: Component;
  administers?: boolean;
}

export interface Group {
  text?: string;
  entries: Entry[];
}

export const MENU: Group[] = [
  {
    entries: [
      { text: "menu.overview", to: "/", icon: Odometer },
      { text: "menu.topology", to: "/topology", icon: Share },
    ],
  },
  {
    text: "menu.configuration",
    entries: [
      { text: "kinds.routes", to: "/objects/routes", icon: Guide },
      { text: "kinds.services", to: "/objects/services", icon: Box },
      { text: "kinds.nodes", to: "/objects/nodes", icon: Cpu },
      { text: "kinds.node-overlays", to: "/objects/node-overlays", icon: Operation },
      { text: "kinds.global-plugins", to: "/objects/global-plugins", icon: Connection },
      { text: "kinds.certificates", to: "/objects/certificates", icon: Lock },
    ],
  },
  {
    text: "menu.watching",
    entries: [
      { text: "menu.explain", to: "/explain", icon: Search },
      { text: "menu.requests", to: "/requests", icon: DataLine },
      { text: "menu.events", to: "/events", icon: Bell },
    ],
  },
  {
    text: "menu.changes",
    entries: [
      { text: "menu.history", to: "/history", icon: Clock },
      { text: "menu.transfer", to: "/transfer", icon: Switch },
    ],
  },
  {
    text: "menu.access",
    entries: [
      { text: "menu.users", to: "/users", icon: User, administers: true },
      { text: "menu.tokens", to: "/tokens", icon: Key, administers: true },
      { text: "menu.audit", to: "/audit", icon: Tickets, administers: true },
      { text: "menu.account", to: "/account", icon: Files },
    ],
  },
];
