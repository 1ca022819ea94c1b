"""The shop in SQLAlchemy 2.0: tables with their rules, and orders that cannot spoil each other.

    engine = make_engine("postgresql+psycopg://user:password@host/database")
    Base.metadata.create_all(engine)
    order_id = in_transaction(engine, lambda s: place_order(s, user_id, {product_id: quantity}))

Tables, names and rules are those of schema.prisma and rules.sql beside this file. The tests are in
test_shop.py; they need only DATABASE_URL.

Every wait has a limit. An exception means that nothing of the order is in the database, with one
exception: Unsure, when the connection is lost while it commits. Nothing here knows whether two
calls are the same order: two calls are two orders, so after Unsure look at get_user_orders first.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, TypeVar

import psycopg
from sqlalchemy import (
    CheckConstraint,
    Connection,
    Engine,
    ForeignKey,
    Index,
    Numeric,
    Text,
    create_engine,
    func,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Session,
    mapped_column,
    relationship,
    selectinload,
)

MOST = 100  # pieces of one product in an order
LARGEST_ID = 2**31 - 1  # of PostgreSQL's integer
LARGEST_TOTAL = Decimal("99999999.99")  # of numeric(10, 2)
MOST_ORDERS = 500  # at once: SQLAlchemy loads the items of so many in one statement
#: What a transaction may be tried again for: it was not serializable, or in a deadlock.
AGAIN = ("40001", "40P01")
TRIES = 5

Result = TypeVar("Result")


class BadOrder(ValueError):
    """What came from outside is not an order."""


class OutOfStock(Exception):
    """A product is not there in that quantity."""


class Unsure(Exception):
    """The connection was lost while it committed: nobody knows whether the work is stored."""


def utc_now() -> datetime:
    """Return the time, with its time zone."""
    return datetime.now(UTC)


def reference(target: str, ondelete: str = "RESTRICT") -> ForeignKey:
    """Return a foreign key as Prisma makes it; "CASCADE": the row goes with the other one."""
    return ForeignKey(f"{target}.id", ondelete=ondelete, onupdate="CASCADE")


def rule(name: str, condition: str) -> CheckConstraint:
    """Return a CHECK constraint."""
    return CheckConstraint(condition, name=name)


NOW = func.current_timestamp()
Key = Annotated[int, mapped_column(primary_key=True)]
Money = Annotated[Decimal, mapped_column(Numeric(10, 2))]
Moment = Annotated[datetime, mapped_column(TIMESTAMP(timezone=True, precision=3))]


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {str: Text}


class User(Base):
    __tablename__ = "User"

    id: Mapped[Key]
    email: Mapped[str]
    name: Mapped[str]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    # "all": the ORM leaves the orders alone, and the foreign key refuses to delete their user.
    orders: Mapped[list[Order]] = relationship(back_populates="user", passive_deletes="all")
    cart: Mapped[Cart | None] = relationship(
        back_populates="user", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (Index("User_email_key", "email", unique=True),)


class Product(Base):
    __tablename__ = "Product"

    id: Mapped[Key]
    name: Mapped[str]
    description: Mapped[str | None]
    price: Mapped[Money]
    stock: Mapped[int] = mapped_column(server_default="0")
    category_id: Mapped[int] = mapped_column("categoryId", reference("Category"))
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)
    updated_at: Mapped[Moment] = mapped_column("updatedAt", default=utc_now, onupdate=utc_now)

    category: Mapped[Category] = relationship(back_populates="products")

    __table_args__ = (
        Index("Product_categoryId_idx", "categoryId"),
        Index("Product_name_idx", "name"),
        rule("Product_price_check", "price >= 0"),
        rule("Product_stock_check", "stock >= 0"),
    )


class Category(Base):
    __tablename__ = "Category"

    id: Mapped[Key]
    name: Mapped[str]

    products: Mapped[list[Product]] = relationship(back_populates="category", passive_deletes="all")

    __table_args__ = (Index("Category_name_key", "name", unique=True),)


class Order(Base):
    __tablename__ = "Order"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User"))
    status: Mapped[str] = mapped_column(server_default="pending")
    total: Mapped[Money]
    created_at: Mapped[Moment] = mapped_column("createdAt", server_default=NOW)

    user: Mapped[User] = relationship(back_populates="orders")
    items: Mapped[list[OrderItem]] = relationship(
        back_populates="order", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (
        Index("Order_userId_status_idx", "userId", "status"),
        Index("Order_userId_createdAt_idx", "userId", text('"createdAt" DESC')),
        rule("Order_total_check", "total >= 0"),
    )


class OrderItem(Base):
    __tablename__ = "OrderItem"

    id: Mapped[Key]
    order_id: Mapped[int] = mapped_column("orderId", reference("Order", "CASCADE"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product"))
    quantity: Mapped[int]
    price: Mapped[Money]

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (
        Index("OrderItem_orderId_productId_key", "orderId", "productId", unique=True),
        Index("OrderItem_productId_idx", "productId"),
        rule("OrderItem_quantity_check", f"quantity BETWEEN 1 AND {MOST}"),
        rule("OrderItem_price_check", "price >= 0"),
    )


class Cart(Base):
    __tablename__ = "Cart"

    id: Mapped[Key]
    user_id: Mapped[int] = mapped_column("userId", reference("User", "CASCADE"))

    user: Mapped[User] = relationship(back_populates="cart")
    items: Mapped[list[CartItem]] = relationship(
        back_populates="cart", cascade="all, delete-orphan", passive_deletes=True
    )

    __table_args__ = (Index("Cart_userId_key", "userId", unique=True),)


class CartItem(Base):
    __tablename__ = "CartItem"

    id: Mapped[Key]
    cart_id: Mapped[int] = mapped_column("cartId", reference("Cart", "CASCADE"))
    product_id: Mapped[int] = mapped_column("productId", reference("Product", "CASCADE"))
    quantity: Mapped[int]

    cart: Mapped[Cart] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()

    __table_args__ = (
        Index("CartItem_cartId_productId_key", "cartId", "productId", unique=True),
        Index("CartItem_productId_idx", "productId"),
        rule("CartItem_quantity_check", f"quantity BETWEEN 1 AND {MOST}"),
    )


def make_engine(url: str, **options: Any) -> Engine:
    """Return an engine with limits on time: for a connection, a statement, a lock, an idle caller.

    Settings in the URL's own `options` stay; `options` here go to create_engine.
    """
    limits = {"statement_timeout": "10s", "lock_timeout": "8s"}
    limits["idle_in_transaction_session_timeout"] = "30s"
    address = make_url(url)
    own = address.query.get("options", ())
    settings = [own] if isinstance(own, str) else list(own)
    settings += [f"-c {name}={value}" for name, value in limits.items()]
    address = address.update_query_dict({"options": " ".join(settings), "connect_timeout": "5"})
    return create_engine(address, **{"pool_timeout": 10, "use_native_hstore": False, **options})


@contextmanager
def limit(connection: Connection, seconds: float) -> Iterator[None]:
    """Break the connection off when the block takes longer: then what waits for it raises.

    A server that is silent cannot end a statement, and psycopg would wait for ever.
    """
    raw: Any = connection.connection.driver_connection

    def break_off() -> None:
        with (
            suppress(OSError, psycopg.Error),  # when it is closed already
            socket.fromfd(raw.fileno(), socket.AF_INET, socket.SOCK_STREAM) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(seconds, 0), break_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # the connection may soon be somebody else's


def in_transaction(
    engine: Engine, work: Callable[[Session], Result], seconds: float = 15
) -> Result:
    """Run work(session) in a transaction, commit, and return its result.

    What work raises goes through, and nothing is stored. After a deadlock, a serialization failure
    or a connection that work finds lost, the work is done again, up to 5 times in all, so it
    should touch nothing but the session. Other errors of the database go through.

    It ends within `seconds` and the time for one connection, whatever the server does.
    Raises Unsure when the connection is lost during COMMIT.
    """
    until = time.monotonic() + seconds
    for left in reversed(range(TRIES)):
        committing = False
        try:
            with (
                engine.connect() as connection,
                limit(connection, until - time.monotonic()),
                Session(connection, expire_on_commit=False) as session,
            ):
                result = work(session)
                session.flush()
                committing = True
                session.commit()
                return result
        except DBAPIError as error:
            if committing and error.connection_invalidated:
                raise Unsure("the connection was lost during COMMIT") from error
            again = error.connection_invalidated or getattr(error.orig, "sqlstate", "") in AGAIN
            if not again or not left or time.monotonic() >= until:
                raise
        time.sleep(random.uniform(0.01, 0.05))  # so that the same two do not meet again
    raise AssertionError  # the last try has returned or raised


def get_user_orders(session: Session, user_id: int, take: int = 10) -> list[Order]:
    """Return a user's newest orders, with items and products loaded: three statements.

    Of two orders of the same moment the larger id comes first. A user who does not exist has no
    orders. Raises ValueError when `user_id` is no id, or `take` is not from 0 to 500.
    """
    if not is_whole(user_id, LARGEST_ID):
        raise ValueError(f"bad user: {shown(user_id)}")
    if type(take) is not int or not 0 <= take <= MOST_ORDERS:
        raise ValueError(f"bad take: {shown(take)}")
    query = (
        select(Order)
        .where(Order.user_id == user_id)
        .order_by(Order.created_at.desc(), Order.id.desc())
        .limit(take)
        .options(selectinload(Order.items).selectinload(OrderItem.product))
    )
    return list(session.scalars(query))


def place_order(session: Session, user_id: int, items: Mapping[int, int]) -> int:
    """Sell {product id: quantity} and return the order's id. The caller commits.

    Raises BadOrder for what is no order, or when there is no such user, and OutOfStock when a
    product is missing or short. Then nothing of the order is left in the transaction, and the
    caller may go on with it. Waits for others who buy the same products, at most as long as the
    engine's lock_timeout. Two calls are two orders.
    """
    check_order(user_id, items)
    with session.begin_nested():
        # Everybody takes products in the same order, and takes them before a line refers to them:
        # so two orders never wait in a circle.
        lines = [take_pieces(session, *item) for item in sorted(items.items())]
        total = sum((line.price * line.quantity for line in lines), Decimal(0))
        if total > LARGEST_TOTAL:
            raise BadOrder(f"the total of {total} is too large")
        order = Order(user_id=user_id, total=total, items=lines)
        session.add(order)
        try:
            session.flush()
        except IntegrityError as error:
            if rule_of(error) == "Order_userId_fkey":
                raise BadOrder(f"there is no user {user_id}") from None
            raise
    return order.id


def take_pieces(session: Session, product: int, quantity: int) -> OrderItem:
    """Take the pieces of a product, if they are there, and return a line at its price."""
    price = session.scalar(
        update(Product)
        .where(Product.id == product, Product.stock >= quantity)
        .values(stock=Product.stock - quantity)
        .returning(Product.price)
    )
    if price is None:
        raise OutOfStock(f"product {product}: not {quantity} in stock")
    return OrderItem(product_id=product, quantity=quantity, price=price)


def rule_of(error: IntegrityError) -> str | None:
    """Return the name of the constraint that has refused a row."""
    refusal: Any = error.orig
    name: str | None = refusal.diag.constraint_name
    return name


def check_order(user_id: Any, items: Any) -> None:
    """Raise BadOrder for what is no order, before anything is sent."""
    if not is_whole(user_id, LARGEST_ID):
        raise BadOrder(f"bad user: {shown(user_id)}")
    if not isinstance(items, Mapping):
        raise BadOrder(f"items are {{product id: quantity}}, not {shown(items)}")
    if not items:
        raise BadOrder("an order needs an item")
    for product, quantity in items.items():
        if not is_whole(product, LARGEST_ID) or not is_whole(quantity, MOST):
            raise BadOrder(f"bad item: product {shown(product)}, quantity {shown(quantity)}")


def is_whole(value: Any, most: int) -> bool:
    """Whether it is a whole number from 1 to `most`; True and 1.0 are none."""
    return type(value) is int and 1 <= value <= most


def shown(value: Any) -> str:
    """Return a value for a message: short, whatever somebody has sent."""
    return repr(value)[:40] if isinstance(value, (int, float, str)) else type(value).__name__
