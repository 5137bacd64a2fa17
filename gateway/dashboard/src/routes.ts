// The places of the panel. Each screen is loaded when it is first opened.

import { createRouter, createWebHashHistory, type RouteRecordRaw } from "vue-router";
import { useSession } from "./stores/session";

const screens: RouteRecordRaw[] = [
  { path: "", name: "overview", component: () => import("./screens/Overview.vue") },
  { path: "topology", name: "topology", component: () => import("./screens/Topology.vue") },
  { path: "objects/:kind", name: "objects", component: () => import("./screens/ObjectList.vue"), props: true },
  {
    path: "objects/:kind/new",
    name: "object-new",
    component: () => import("./screens/ObjectEdit.vue"),
    props: (to) => ({ kind: to.params.kind, name: undefined }),
  },
  { path: "objects/:kind/at/:name", name: "object", component: () => import("./screens/ObjectEdit.vue"), props: true },
  { path: "explain", name: "explain", component: () => import("./screens/Explain.vue") },
  { path: "requests", name: "requests", component: () => import("./screens/LiveRequests.vue") },
  { path: "events", name: "events", component: () => import("./screens/Events.vue") },
  { path: "history", name: "history", component: () => import("./screens/History.vue") },
  { path: "history/:revision", name: "revision", component: () => import("./screens/Revision.vue"), props: true },
  { path: "transfer", name: "transfer", component: () => import("./screens/Transfer.vue") },
  { path: "users", name: "users", component: () => import("./screens/Users.vue"), meta: { administers: true } },
  { path: "tokens", name: "tokens", component: () => import("./screens/Tokens.vue"), meta: { administers: true } },
  { path: "audit", name: "audit", component: () => import("./screens/Audit.vue"), meta: { administers: true } },
  { path: "account", name: "account", component: () => import("./screens/Account.vue") },
  { path: ":rest(.*)*", name: "absent", component: () => import("./screens/Absent.vue") },
];

export const router = createRouter({
  history: createWebHashHistory(),
  routes: [
    { path: "/login", name: "login", component: () => import("./screens/Login.vue"), meta: { isOpen: true } },
    { path: "/", component: () => import("./layout/Shell.vue"), children: screens },
  ],
  scrollBehavior: (_to, _from, kept) => kept ?? { top: 0 },
});

router.beforeEach(async (to) => {
  const session = useSession();
  if (to.meta.isOpen || session.me) return true;
  try {
    if (await session.resume()) return true;
  } catch {
    // The gateway cannot be reached: the banner of the login says so.
  }
  return { name: "login", query: to.fullPath === "/" ? {} : { to: to.fullPath } };
});
