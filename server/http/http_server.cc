#include "server/http/http_server.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "server/http/metrics.h"

namespace joinq::http {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;
using Request = beast::http::request<beast::http::empty_body>;
using Response = beast::http::response<beast::http::string_body>;

constexpr std::chrono::seconds kPatience{10};  // with a peer, per request
constexpr uint32_t kHeaderBytesMax = 8192;
constexpr int kConnectionsMax = 64;

class BeastServer final : public HttpServer {
 public:
  BeastServer(asio::io_context* io, tcp::acceptor acceptor, rpc::CoreLoop* loop)
      : io_(*io), acceptor_(std::move(acceptor)), loop_(loop) {}

  void Listen() { asio::co_spawn(io_, Accept(), asio::detached); }
  NetAddress address() const override {
    const tcp::endpoint endpoint = acceptor_.local_endpoint();
    return {endpoint.address().to_string(), endpoint.port(), ""};
  }
  void Detach() override { loop_ = nullptr; }

 private:
  asio::awaitable<void> Accept() {
    for (;;) {
      beast::error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, error));
      if (error == asio::error::operation_aborted) co_return;
      if (error) {  // out of descriptors, say: others will close theirs
        asio::steady_timer pause(io_, std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
        continue;
      }
      if (connections_ >= kConnectionsMax) continue;  // closed at once
      ++connections_;
      asio::co_spawn(io_, Serve(beast::tcp_stream(std::move(socket))),
                     [this](std::exception_ptr) { --connections_; });
    }
  }

  asio::awaitable<void> Serve(beast::tcp_stream stream) {
    beast::flat_buffer buffer;
    for (bool open = true; open;) {
      beast::http::request_parser<beast::http::empty_body> parser;
      parser.header_limit(kHeaderBytesMax);
      parser.body_limit(0);
      stream.expires_after(kPatience);
      co_await beast::http::async_read(stream, buffer, parser, asio::use_awaitable);
      Response response = co_await Answer(parser.get());
      open = response.keep_alive();
      stream.expires_after(kPatience);
      co_await beast::http::async_write(stream, response, asio::use_awaitable);
    }
    beast::error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_send, ignored);
  }

  asio::awaitable<Response> Answer(const Request& request) {
    Response response(beast::http::status::ok, request.version());
    response.keep_alive(request.keep_alive());
    response.set(beast::http::field::server, "joinqd");
    response.set(beast::http::field::content_type, "text/plain; charset=utf-8");
    const std::string path(request.target().substr(0, request.target().find('?')));
    const bool head = request.method() == beast::http::verb::head;
    if (request.method() != beast::http::verb::get && !head) {
      response.result(beast::http::status::method_not_allowed);
      response.set(beast::http::field::allow, "GET, HEAD");
      response.body() = "only GET and HEAD\n";
    } else if (path == "/healthz") {
      response.body() = "ok\n";
    } else if (path == "/readyz") {
      if (loop_ == nullptr) response.result(beast::http::status::service_unavailable);
      response.body() = loop_ == nullptr ? "stopping\n" : "ready\n";
    } else if (path == "/metrics" && loop_ != nullptr) {
      response.set(beast::http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
      response.body() = WriteMetrics(co_await AskCore());
    } else {
      response.result(path == "/metrics" ? beast::http::status::service_unavailable
                                         : beast::http::status::not_found);
      response.body() = "try /metrics, /healthz or /readyz\n";
    }
    response.prepare_payload();
    if (head) response.body().clear();
    co_return response;
  }

  // A round trip to the core thread.
  asio::awaitable<Snapshot> AskCore() {
    auto snapshot = std::make_shared<Snapshot>();
    auto arrived = std::make_shared<asio::steady_timer>(io_, kPatience);
    loop_->Post([this, snapshot, arrived, loop = loop_] {
      *snapshot = Snapshot::Take(loop);
      asio::post(io_, [arrived] { arrived->cancel(); });
    });
    beast::error_code cancelled;
    co_await arrived->async_wait(asio::redirect_error(asio::use_awaitable, cancelled));
    co_return cancelled ? std::move(*snapshot) : Snapshot{};
  }

  asio::io_context& io_;
  tcp::acceptor acceptor_;
  rpc::CoreLoop* loop_;
  int connections_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(asio::io_context* io, const NetAddress& address,
                                                              rpc::CoreLoop* loop) {
  auto failed = [&](const beast::error_code& error) {
    return absl::FailedPreconditionError(
        absl::StrCat("--http: cannot listen on ", address.ToString(), ": ", error.message()));
  };
  if (address.is_unix())
    return absl::InvalidArgumentError("--http: a Unix socket is not supported; give HOST:PORT or off");
  beast::error_code error;
  tcp::resolver resolver(*io);
  const auto found =
      resolver.resolve(address.host, std::to_string(address.port), tcp::resolver::passive, error);
  if (error || found.empty()) return failed(error);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  tcp::acceptor acceptor(*io);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed(error);
  auto server = std::make_unique<BeastServer>(io, std::move(acceptor), loop);
  server->Listen();
  return server;
}

}  // namespace joinq::http
