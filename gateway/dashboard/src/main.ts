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

const app = createApp(App).use(createPinia()).use(i18n);
const preferences = usePreferences();
watch(() => preferences.language, speak);
await speak(preferences.language);
app.use(router).mount("#app");
