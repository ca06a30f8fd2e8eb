// Types of keypin.js: requests behind a pin, for the pages of a pywebview window.

declare namespace WL {
  /** What `errorCode` of a failure can be. */
  type ErrorCodeName =
    | 'PIN_MISMATCH'
    | 'NOT_PINNED'
    | 'CERTIFICATE_NOT_FOUND'
    | 'CERTIFICATE_FORMAT'
    | 'PLAIN_HTTP_REFUSED'
    | 'HOST_NOT_ALLOWED'
    | 'REQUEST_TIMEOUT'
    | 'UNREACHABLE'
    | 'AUTHORIZATION_REFUSED'
    | 'SERVER_ERROR'
    | 'RESPONSE_TOO_LARGE'
    | 'BAD_ARGUMENT'
    | 'NOT_ALLOWED'
    | 'TOO_MANY_CALLS'
    | 'BRIDGE_MISSING'
    | 'INTERNAL_ERROR';

  const ErrorCode: { readonly [Name in ErrorCodeName]: Name };

  /** A server's answer. */
  interface Response {
    readonly status: number;
    readonly responseText: string;
    /** The body's JSON value; null if its Content-Type is not JSON, or it is broken. */
    readonly responseJSON: any;
    /** The value of a header, several of them joined by commas; null if there is none. */
    getHeader(name: string): string | null;
    getAllHeaders(): { [name: string]: string };
  }

  /** What every promise of this file is rejected with. */
  interface Failure extends Error {
    readonly errorCode: ErrorCodeName;
    readonly errorMsg: string;
    /** Of the server's answer; null if there was none. */
    readonly status: number | null;
    readonly responseText: string | null;
    readonly responseJSON: any;
    getHeader(name: string): string | null;
    getAllHeaders(): { [name: string]: string };
  }

  namespace Client {
    /** Pin to the public key of a certificate file of the app, or of several. */
    function pinTrustedCertificatePublicKey(names: string | string[]): Promise<null>;
  }
}

declare namespace WLAuthorizationManager {
  interface AccessToken {
    readonly id: string;
    readonly scope: string;
    readonly expiresAt: Date | null;
    /** null unless the app says expose(..., tokens=True); the same holds for the next two. */
    readonly value: string | null;
    readonly asAuthorizationRequestHeader: string | null;
    readonly asFormEncodedBodyParameter: string | null;
  }

  function obtainAccessToken(scope?: string | null): Promise<AccessToken>;
  function clearAccessToken(token: AccessToken): Promise<null>;
}

declare class WLResourceRequest {
  static readonly GET: 'GET';
  static readonly POST: 'POST';
  static readonly PUT: 'PUT';
  static readonly PATCH: 'PATCH';
  static readonly DELETE: 'DELETE';
  static readonly HEAD: 'HEAD';
  static readonly OPTIONS: 'OPTIONS';

  /**
   * @param url below the client's base URL, or an absolute https URL of a server that the app allows
   * @param options `timeout` in milliseconds for the whole request (30000), the `scope` its token
   *   needs; or the timeout alone
   */
  constructor(
    url: string,
    method: WLResourceRequest.Method,
    options?: WLResourceRequest.Options | number | null
  );

  getUrl(): string;
  getMethod(): string;
  getTimeout(): number;
  setTimeout(milliseconds: number): void;

  getQueryParameters(): { [name: string]: WLResourceRequest.QueryValue };
  getQueryString(): string;
  /** Replaces all query parameters. */
  setQueryParameters(parameters?: { [name: string]: WLResourceRequest.QueryValue } | null): void;
  /** An array or object is sent as JSON. */
  setQueryParameter(name: string, value: WLResourceRequest.QueryValue): void;

  /** Header names are the same in upper and lower case. */
  getHeaders(): { [name: string]: string[] };
  getHeaders(name: string): string[] | undefined;
  getHeader(name: string): string | undefined;
  getAllHeaders(): { [name: string]: string[] };
  getHeaderNames(): string[];
  /** Replaces all headers. */
  setHeaders(
    headers?: { [name: string]: WLResourceRequest.Simple | WLResourceRequest.Simple[] } | null
  ): void;
  setHeader(name: string, value: WLResourceRequest.Simple): void;
  addHeader(name: string, value: WLResourceRequest.Simple): void;
  removeHeaders(name: string): void;

  /** Resolves for a status of 2xx. A plain object or array is sent as JSON; no FormData or Blob. */
  send(content?: WLResourceRequest.Simple | object | null): Promise<WL.Response>;
  sendFormParameters(
    parameters: string | { [name: string]: WLResourceRequest.Simple }
  ): Promise<WL.Response>;
}

declare namespace WLResourceRequest {
  type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'HEAD' | 'OPTIONS';
  type Simple = string | number | boolean;
  type QueryValue = Simple | object;
  interface Options {
    timeout?: number;
    scope?: string | null;
  }
}

interface WindowEventMap {
  /** The page is connected to its app. */
  keypinready: CustomEvent<null>;
}
