// A service worker of the app's own pages: is there a way to Python?
self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('message', (event) => {
  const names = ['pywebview', 'keypinBridge', 'WL', 'qt', 'webkit', 'chrome', 'external'];
  event.source.postMessage(names.filter((name) => self[name]));
});
