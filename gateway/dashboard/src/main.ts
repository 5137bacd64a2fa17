// Starts the panel.
import "element-plus/theme-chalk/base.css";
import "element-plus/theme-chalk/dark/css-vars.css";
import "./styles/main.css";
import { createPinia } from "pinia";
import { createApp, watch } from "vue";
import App from "./App.vue";
import { i18n, speak } from "./i18n";
import { router } from "./routes";
import { usePreferences } from "./stores/preferences";

// A gateway that was upgraded meanwhile no longer has the parts of the panel it served: its own are one load away.
const RELOADED = "ws-gateway.reloaded";
let isPartGone = false;
addEventListener("vite:preloadError", () => (isPartGone = true));
router.onError((_error, to) => {
  // Not again and again, when they stay away.
  if (!isPartGone || Date.now() - Number(sessionStorage.getItem(RELOADED)) < 10_000) return;
  sessionStorage.setItem(RELOADED, String(Date.now()));
  location.hash = to.fullPath;
  location.reload();
});

const app = createApp(App).use(createPinia()).use(i18n);
const preferences = usePreferences();
watch(() => preferences.language, speak);
await speak(preferences.language);
app.use(router).mount("#app");
